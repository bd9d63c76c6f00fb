"""Fixtures with real servers. `make test` starts a whole shop and sets GOZON_SHOP to its shop.json.

With GOZON_URL instead, the tests of `tests/e2e` and `tests/browser` run against a shop that already runs there.
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

# No deadline, because other processes use the cores too. Not derandomized, so that each run tries new examples.
settings.register_profile(
    "gozon", deadline=None, derandomize=False, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gozon")


# A test with one of these fixtures needs a server or starts a process.
SERVER_FIXTURES = frozenset({"shop", "servers", "spawn", "browser"})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests that need no server and start no process")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Moves the audit of the whole shop to the end, so that it checks the data of all other tests."""
    items.sort(key=lambda item: item.path.name == "test_audit.py")
    if config.getoption("--quick"):
        needs = {item: _needs_processes(item) for item in items}
        config.hook.pytest_deselected(items=[item for item in items if needs[item]])
        items[:] = [item for item in items if not needs[item]]


def _needs_processes(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return not SERVER_FIXTURES.isdisjoint(fixtures) or item.get_closest_marker("processes") is not None


class Shop:
    """The whole shop. `servers` is its shop.json. A test that reads `servers` is skipped with GOZON_URL."""

    def __init__(self, url: str, servers: dict[str, Any] | None) -> None:
        self.url = url
        self._servers = servers

    @property
    def servers(self) -> dict[str, Any]:
        if self._servers is None:
            pytest.skip("needs the shop of `make test`")
        return self._servers

    async def supervisorctl(self, *words: str) -> str:
        """Runs supervisorctl, for example with `stop redis`, and returns its output."""
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
        pytest.exit("no running servers: run `make test`", returncode=2)
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
    """A new user, who calls the shop through nginx."""
    return Caller(session, shop.url)


@pytest.fixture(scope="session")
async def template_databases(servers: dict[str, Any]) -> AsyncGenerator[dict[str, str]]:
    """The name of a migrated database of each service, which serves as a template."""
    names = {service: f"template_{service}_{uuid4().hex[:8]}" for service in ("orders", "payments")}
    for service, name in names.items():
        await admin(servers, f"CREATE DATABASE {name}")
        await migrate(database_at(servers, name), service)
    yield names
    for name in names.values():
        await admin(servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def orders_url(servers: dict[str, Any], template_databases: dict[str, str]) -> AsyncGenerator[str]:
    """The URL of a migrated, empty orders database for this test only."""
    async with CopyOf(servers, template_databases["orders"]) as url:
        yield url


@pytest.fixture
async def payments_url(servers: dict[str, Any], template_databases: dict[str, str]) -> AsyncGenerator[str]:
    """The URL of a migrated, empty payments database for this test only."""
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
    """The URL of a RabbitMQ virtual host for this test only."""
    vhost = f"test-{uuid4().hex[:12]}"
    management = urlsplit(str(servers["broker_management"]))
    authority = management.netloc.rpartition("@")[2]
    api = f"http://{authority}/api"
    headers = {"Authorization": aiohttp.encode_basic_auth(management.username or "", management.password or "")}
    async with session.put(f"{api}/vhosts/{vhost}", headers=headers) as response:
        response.raise_for_status()
    all_permissions = {"configure": ".*", "write": ".*", "read": ".*"}
    user = quote(management.username or "", safe="")
    async with session.put(f"{api}/permissions/{vhost}/{user}", json=all_permissions, headers=headers) as response:
        response.raise_for_status()
    yield urlsplit(str(servers["broker"]))._replace(path=f"/{vhost}").geturl()
    async with session.delete(f"{api}/vhosts/{vhost}", headers=headers) as response:
        response.raise_for_status()


@pytest.fixture
async def broker(broker_url: str) -> AsyncGenerator[Broker]:
    """A client of the virtual host of this test, in which the whole topology is declared."""
    async with Broker(broker_url) as broker:
        yield broker


@pytest.fixture
async def way_to() -> AsyncGenerator[Callable[[str], Forwarder]]:
    """`way_to(url)` returns a proxy to that server, which is not open yet. All proxies are cut at the end."""
    forwarders: list[Forwarder] = []

    def create(url: str) -> Forwarder:
        forwarders.append(Forwarder(url))
        return forwarders[-1]

    yield create
    for forwarder in forwarders:
        await forwarder.cut()


@pytest.fixture
async def serve() -> AsyncGenerator[Serve]:
    """`await serve(handler)` starts an HTTP server that replaces a service."""
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
    """The Redis of the shop. Tests do not collide, because each uses its own user ids."""
    async with Redis.from_url(servers["redis"], protocol=2) as redis:
        yield redis


@pytest.fixture
async def spawn(session: aiohttp.ClientSession, tmp_path: Path) -> AsyncGenerator[Spawn]:
    """`await spawn("payments", DATABASE_URL=...)` starts a replica and waits until it is ready.

    With `wait=False` it does not wait. Every replica is stopped after the test.
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
