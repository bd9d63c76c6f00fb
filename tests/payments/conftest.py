from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest

from shopkit.db.database import Database
from tests.servers import CopyOf, without_broker
from tests.support import Caller, Replica


@pytest.fixture(scope="session")
async def shared_database(servers: dict[str, Any], template_databases: dict[str, str]) -> AsyncGenerator[Database]:
    """The database of the replica that the HTTP tests share."""
    async with CopyOf(servers, template_databases["payments"]) as url:
        database = Database(url, "payments")
        await database.open()
        yield database
        await database.close()


@pytest.fixture(scope="session")
async def replica(
    shared_database: Database, session: aiohttp.ClientSession, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Replica]:
    async with without_broker(
        "payments", shared_database, session, tmp_path_factory.mktemp("payments") / "payments.log"
    ) as replica:
        yield replica


@pytest.fixture
def payer(session: aiohttp.ClientSession, replica: Replica) -> Caller:
    """A new user who sends requests to the replica directly, without a gateway."""
    return Caller(session, replica.url)
