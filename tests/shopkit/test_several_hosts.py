"""Addresses that name several servers, some of which are unavailable or not the primary."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import asyncpg
import pytest
from aio_pika.abc import AbstractChannel

from gozon.topology import TOPOLOGY
from shopkit.db.connect import connector
from shopkit.db.database import Database
from shopkit.messaging.broker import RabbitMQ, Session
from shopkit.runtime.hosts import cycle_host_urls, host_urls
from shopkit.runtime.retry import is_transient
from tests.operating import dead_letters
from tests.servers import Broker, Forwarder, rows, running
from tests.shopkit.postgres_pair import Node, postgres_pair
from tests.support import audited, eventually, free_port

pytestmark = pytest.mark.processes

LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
WRITE = "INSERT INTO outbox (event_id, routing_key, event) VALUES (gen_random_uuid(), 'k', 'e')"


def with_hosts_before(url: str, *ports: int) -> str:
    """Returns the address with other hosts of 127.0.0.1 before its own."""
    user, at, rest = url.rpartition("@")
    return user + at + "".join(f"127.0.0.1:{port}," for port in ports) + rest


def test_an_address_with_several_hosts_is_split() -> None:
    assert host_urls("amqp://u:p%40@a:1,b:2/v?x=y") == ["amqp://u:p%40@a:1/v?x=y", "amqp://u:p%40@b:2/v?x=y"]
    assert host_urls("postgresql://u@a/d") == ["postgresql://u@a/d"]
    with pytest.raises(ValueError, match="no host"):
        host_urls("nonsense")
    turns = cycle_host_urls("amqp://a,b,c/")
    assert len({next(turns) for _ in range(3)}) == 3
    assert next(turns) in host_urls("amqp://a,b,c/")


@contextmanager
def silent_hosts(count: int) -> Generator[list[socket.socket]]:
    """Yields servers that accept connections and never respond."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]


def port_of(host: socket.socket) -> int:
    return host.getsockname()[1]


def connections_to(host: socket.socket) -> int:
    """Returns how many clients have connected to `host`."""
    host.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            host.accept()[0].close()
            count += 1
    return count


def setting(lost: asyncio.Event) -> Callable[..., None]:
    return lambda *_: lost.set()  # pyright: ignore[reportUnknownLambdaType]


@pytest.fixture
async def pair() -> AsyncGenerator[tuple[Node, Node]]:
    async with postgres_pair() as pair:
        yield pair


@pytest.fixture
async def database(pair: tuple[Node, Node]) -> AsyncGenerator[Database]:
    """A database whose address names the standby first and the primary second."""
    primary, standby = pair
    database = Database(with_hosts_before(primary.url, standby.port), "orders")
    await database.open()
    yield database
    await database.close()


async def test_connections_follow_the_primary_to_a_promoted_standby(
    pair: tuple[Node, Node], database: Database
) -> None:
    primary, standby = pair
    await rows(database, WRITE)
    await primary.kill()
    with pytest.raises(LOST) as failure:
        await rows(database, WRITE)
    assert is_transient(failure.value)
    await standby.promote()
    await rows(database, WRITE)
    assert await standby.sql("SELECT count(*) FROM outbox") == 2


async def test_connections_to_a_primary_that_became_read_only_are_replaced(
    pair: tuple[Node, Node], database: Database
) -> None:
    primary, standby = pair
    await rows(database, WRITE)
    await primary.make_read_only()

    async def write_fails() -> bool:
        try:
            await rows(database, WRITE)
        except LOST as failure:
            return is_transient(failure)
        return False

    await eventually(write_fails)
    await standby.promote()
    await rows(database, WRITE)
    assert await primary.sql("SELECT 1"), "the old primary still runs"


async def test_a_silent_host_costs_one_connection_timeout_only(orders_url: str) -> None:
    with silent_hosts(1) as (silent,):
        connect = connector(with_hosts_before(orders_url, port_of(silent)))
        for connection in await asyncio.gather(*(connect() for _ in range(10))):
            await connection.close()
        assert connections_to(silent) == 1


async def test_callers_with_short_timeouts_get_past_silent_hosts(orders_url: str) -> None:
    with silent_hosts(2) as silent:
        connect = connector(with_hosts_before(orders_url, *map(port_of, silent)))

        async def connected() -> Any:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    return await connect()

        await (await eventually(connected)).close()


async def test_a_lost_session_reconnects_to_another_host(
    broker_url: str, way_to: Callable[[str], Forwarder]
) -> None:
    one, another = way_to(broker_url), way_to(broker_url)
    opened: asyncio.Queue[AbstractChannel] = asyncio.Queue()

    async def work(channel: AbstractChannel) -> None:
        lost = asyncio.Event()
        channel.close_callbacks.add(setting(lost))
        await opened.put(channel)
        await lost.wait()

    session = Session(RabbitMQ(with_hosts_before(one.url, free_port(), another.port), TOPOLOGY), "test", work)
    async with running(session):
        await one.open()
        await opened.get()
        await another.open()
        await one.cut()
        await opened.get()
        session.stop()
        await another.cut()


async def test_the_dead_letter_command_skips_an_unavailable_host(
    broker: Broker, broker_url: str, payments_url: str
) -> None:
    servers = (
        "--broker",
        with_hosts_before(broker_url, free_port()),
        "--database",
        with_hosts_before(payments_url, free_port()),
    )
    outcome = await dead_letters("list", *servers)
    assert outcome.status == 0, outcome


async def test_the_auditor_skips_an_unavailable_host(orders_url: str, payments_url: str) -> None:
    urls = {
        "ORDERS_DATABASE_URL": with_hosts_before(orders_url, free_port()),
        "PAYMENTS_DATABASE_URL": with_hosts_before(payments_url, free_port()),
    }
    status, _, errors = await audited(**urls)
    assert (status, errors) == (0, "")


async def test_an_invalid_address_raises_without_retries() -> None:
    with pytest.raises(asyncpg.InterfaceError, match="scheme"):
        await Database("mysql://gozon@127.0.0.1/gozon", "orders").open()
