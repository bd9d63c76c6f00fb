from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shopkit.db import Database
from tests.servers import CopyOf
from tests.support import Caller, Replica, eventually, free_port


@pytest.fixture(scope="session")
async def shelf(servers: dict[str, Any], template_databases: dict[str, str]) -> AsyncGenerator[Database]:
    """The database of the replica that the HTTP tests share."""
    async with CopyOf(servers, template_databases["orders"]) as url:
        database = Database(url, "orders")
        await database.open()
        yield database
        await database.engine.dispose()


@pytest.fixture(scope="session")
async def replica(
    shelf: Database, session: aiohttp.ClientSession, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Replica]:
    """Orders with no broker, so that nothing leaves its outbox."""
    settings = {
        "DATABASE_URL": shelf.engine.url.set(drivername="postgresql").render_as_string(hide_password=False),
        "BROKER_URL": f"amqp://nobody@127.0.0.1:{free_port()}/",
    }
    replica = Replica("orders", settings, Path(tmp_path_factory.mktemp("orders")) / "orders.log")
    await replica.start()

    async def has_its_database() -> bool:
        return (await replica.readiness(session))[1].get("parts", {}).get("database") == "ok"

    await eventually(has_its_database)
    yield replica
    await replica.stop()


@pytest.fixture
def buyer(session: aiohttp.ClientSession, replica: Replica) -> Caller:
    """A new user at the replica itself."""
    return Caller(session, replica.url)
