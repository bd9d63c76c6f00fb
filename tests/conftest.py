"""Fixtures on real servers. `make test` starts them and a whole shop, and says in GOZON_SHOP where they are.

With GOZON_URL instead, the tests of `tests/e2e` and `tests/browser` run against a shop that is already there.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import aiohttp
import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from shopkit.db.database import Database
from shopkit.db.migrations import migrate
from tests.fork_server import FORK_SERVER
from tests.servers import Broker, CopyOf, Forwarder, Handler, StandIn, admin, database_at
from tests.support import OPENED, Caller, Replica

Spawn = Callable[..., Awaitable[Replica]]
Serve = Callable[[Handler], Awaitable[StandIn]]

# Cores are shared, so an example may take its time; and each run is to try something new, in CI as well.
settings.register_profile(
    "gozon", deadline=None, derandomize=False, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gozon")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The audit of the whole shop comes last: it judges what all the other tests have left there."""
    items.sort(key=lambda item: item.path.name == "test_audit.py")


class Shop:
    """The whole shop. `servers` says where its parts are, when they are ours to stop and start."""

    def __init__(self, url: str, servers: dict[str, Any] | None) -> None:
        self.url = url
        self._servers = servers

    @property
    def servers(self) -> dict[str, Any]:
        if self._servers is None:
            pytest.skip("needs the servers that `make test` starts")
        return self._servers

    async def supervisorctl(self, *words: str) -> str:
        """`supervisorctl stop redis` and the like."""
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("supervisorctl"),
            "-c",
            self.servers["supervisor"],
            *words,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        return output.decode()


@pytest.fixture(scope="session")
def shop() -> Shop:
    if url := os.environ.get("GOZON_URL"):
        return Shop(url, None)
    description = Path(os.environ.get("GOZON_SHOP", ".run/test/shop.json"))
    if not description.exists():
        pytest.exit("no servers to test on: run `make test`", returncode=2)
    servers = json.loads(description.read_text())
    return Shop(servers["entrance"], servers)


@pytest.fixture(scope="session")
def servers(shop: Shop) -> dict[str, Any]:
    return shop.servers


@pytest.fixture(scope="session")
async def session() -> AsyncGenerator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


@pytest.fixture(scope="session", autouse=True)
async def close_fork_server() -> AsyncGenerator[None]:
    yield
    await FORK_SERVER.close()


@pytest.fixture(autouse=True)
async def close_sockets() -> AsyncGenerator[None]:
    yield
    await asyncio.gather(*(connection.close() for connection in OPENED), return_exceptions=True)
    OPENED.clear()


@pytest.fixture
def caller(session: aiohttp.ClientSession, shop: Shop) -> Caller:
    """A new user at the front door."""
    return Caller(session, shop.url)


@pytest.fixture(scope="session")
async def template_databases(servers: dict[str, Any]) -> AsyncGenerator[dict[str, str]]:
    """A migrated database of each service, to copy from."""
    names = {service: f"template_{service}_{uuid4().hex[:8]}" for service in ("orders", "payments")}
    for service, name in names.items():
        await admin(servers, f"CREATE DATABASE {name}")
        await migrate(database_at(servers, name), service)
    yield names
    for name in names.values():
        await admin(servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def orders_url(servers: dict[str, Any], template_databases: dict[str, str]) -> AsyncGenerator[str]:
    """A migrated, empty orders database of this test alone."""
    async with CopyOf(servers, template_databases["orders"]) as url:
        yield url


@pytest.fixture
async def payments_url(servers: dict[str, Any], template_databases: dict[str, str]) -> AsyncGenerator[str]:
    """A migrated, empty payments database of this test alone."""
    async with CopyOf(servers, template_databases["payments"]) as url:
        yield url


@pytest.fixture
async def orders_database(orders_url: str) -> AsyncGenerator[Database]:
    async with _opened(Database(orders_url, "orders")) as database:
        yield database


@pytest.fixture
async def payments_database(payments_url: str) -> AsyncGenerator[Database]:
    async with _opened(Database(payments_url, "payments")) as database:
        yield database


class _opened:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def __aenter__(self) -> Database:
        await self._database.open()
        return self._database

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()


@pytest.fixture
async def broker_url(servers: dict[str, Any], session: aiohttp.ClientSession) -> AsyncGenerator[str]:
    """A RabbitMQ virtual host of this test alone."""
    vhost = f"test-{uuid4().hex[:12]}"
    management = urlsplit(str(servers["broker_management"]))
    authority = management.netloc.rpartition("@")[2]
    api = f"http://{authority}/api"
    headers = {"Authorization": aiohttp.encode_basic_auth(management.username or "", management.password or "")}
    async with session.put(f"{api}/vhosts/{vhost}", headers=headers) as response:
        response.raise_for_status()
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    user = quote(management.username or "", safe="")
    async with session.put(f"{api}/permissions/{vhost}/{user}", json=everything, headers=headers) as response:
        response.raise_for_status()
    yield urlsplit(str(servers["broker"]))._replace(path=f"/{vhost}").geturl()
    async with session.delete(f"{api}/vhosts/{vhost}", headers=headers) as response:
        response.raise_for_status()


@pytest.fixture
async def broker(broker_url: str) -> AsyncGenerator[Broker]:
    """The virtual host of this test with the whole topology in it."""
    async with Broker(broker_url) as broker:
        yield broker


@pytest.fixture
async def way_to() -> AsyncGenerator[Callable[[str], Forwarder]]:
    """`way_to(url)` is a way to that server which is not open yet, and which can be cut."""
    ways: list[Forwarder] = []

    def lay(url: str) -> Forwarder:
        ways.append(Forwarder(url))
        return ways[-1]

    yield lay
    for way in ways:
        await way.cut()


@pytest.fixture
async def serve() -> AsyncGenerator[Serve]:
    """`await serve(handler)` starts an HTTP server in the place of a service."""
    started: list[StandIn] = []

    async def start(handler: Handler) -> StandIn:
        started.append(StandIn(handler))
        await started[-1].start()
        return started[-1]

    yield start
    for stand_in in started:
        await stand_in.stop()


@pytest.fixture
async def redis(servers: dict[str, Any]) -> AsyncGenerator[Redis]:
    """The Redis that the shop uses; keys are kept apart by the users' ids."""
    async with Redis.from_url(servers["redis"], protocol=2) as redis:
        yield redis


@pytest.fixture
async def spawn(session: aiohttp.ClientSession, tmp_path: Path) -> AsyncGenerator[Spawn]:
    """`await spawn("payments", DATABASE_URL=...)` starts a replica and waits until it is ready.

    With `wait=False` it does not wait. Every replica is ended after the test.
    """
    started: list[Replica] = []

    async def start(service: str, *, wait: bool = True, **settings: str) -> Replica:
        replica = Replica(service, settings, tmp_path / f"{service}-{len(started)}.log")
        started.append(replica)
        await replica.start()
        if wait:
            await replica.ready(session)
        return replica

    yield start
    for replica in started:
        if replica.running:
            await replica.stop()
