from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shopkit.db import Database
from tests.servers import CopyOf
from tests.support import Caller, Replica, eventually, free_port


@pytest.fixture(scope="session")
async def vault(servers: dict[str, Any], template_databases: dict[str, str]) -> AsyncGenerator[Database]:
    """The database of the replica that the HTTP tests share."""
    async with CopyOf(servers, template_databases["payments"]) as url:
        database = Database(url, "payments")
        await database.open()
        yield database
        await database.engine.dispose()


@pytest.fixture(scope="session")
async def replica(
    vault: Database, session: aiohttp.ClientSession, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Replica]:
    """Payments with no broker: accounts do not need one."""
    settings = {
        "DATABASE_URL": vault.engine.url.set(drivername="postgresql").render_as_string(hide_password=False),
        "BROKER_URL": f"amqp://nobody@127.0.0.1:{free_port()}/",
    }
    replica = Replica("payments", settings, Path(tmp_path_factory.mktemp("payments")) / "payments.log")
    await replica.start()

    async def has_its_database() -> bool:
        return (await replica.readiness(session))[1].get("parts", {}).get("database") == "ok"

    await eventually(has_its_database)
    yield replica
    await replica.stop()


@pytest.fixture
def payer(session: aiohttp.ClientSession, replica: Replica) -> Caller:
    """A new user at the replica itself."""
    return Caller(session, replica.url)
