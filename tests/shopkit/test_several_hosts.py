"""Addresses that name several servers, of which some are away or are not the primary."""

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

LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
WRITE = "INSERT INTO outbox (event_id, routing_key, event) VALUES (gen_random_uuid(), 'k', 'e')"


def beside(url: str, *ports: int) -> str:
    """The address with other hosts before its own."""
    user, at, rest = url.rpartition("@")
    return user + at + "".join(f"127.0.0.1:{port}," for port in ports) + rest


def test_an_address_is_taken_apart() -> None:
    assert host_urls("amqp://u:p%40@a:1,b:2/v?x=y") == ["amqp://u:p%40@a:1/v?x=y", "amqp://u:p%40@b:2/v?x=y"]
    assert host_urls("postgresql://u@a/d") == ["postgresql://u@a/d"]
    with pytest.raises(ValueError, match="no host"):
        host_urls("nonsense")
    turns = cycle_host_urls("amqp://a,b,c/")
    assert len({next(turns) for _ in range(3)}) == 3
    assert next(turns) in host_urls("amqp://a,b,c/")


@contextmanager
def silent_hosts(count: int) -> Generator[list[socket.socket]]:
    """They take connections and never say a word."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]


def port_of(host: socket.socket) -> int:
    return host.getsockname()[1]


def calls_of(host: socket.socket) -> int:
    """How many connections wait to be taken."""
    host.setblocking(False)
    calls = 0
    with suppress(BlockingIOError):
        while True:
            host.accept()[0].close()
            calls += 1
    return calls


def lost_by(lost: asyncio.Event) -> Callable[..., None]:
    return lambda *_: lost.set()  # pyright: ignore[reportUnknownLambdaType]


@pytest.fixture
async def pair() -> AsyncGenerator[tuple[Node, Node]]:
    async with postgres_pair() as pair:
        yield pair


@pytest.fixture
async def database(pair: tuple[Node, Node]) -> AsyncGenerator[Database]:
    """The standby is named first."""
    primary, standby = pair
    database = Database(beside(primary.url, standby.port), "orders")
    await database.open()
    yield database
    await database.close()


async def test_the_primary_is_found_and_after_its_death_the_promoted_standby(
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


async def test_a_primary_that_takes_no_writes_any_more_is_left(pair: tuple[Node, Node], database: Database) -> None:
    primary, standby = pair
    await rows(database, WRITE)
    await primary.stops_writing()

    async def is_refused() -> bool:
        try:
            await rows(database, WRITE)
        except LOST as failure:
            return is_transient(failure)
        return False

    await eventually(is_refused)
    await standby.promote()
    await rows(database, WRITE)
    assert await primary.sql("SELECT 1"), "it is still there"


async def test_a_host_that_says_nothing_costs_one_connection_its_patience(orders_url: str) -> None:
    with silent_hosts(1) as (silent,):
        connect = connector(beside(orders_url, port_of(silent)))
        for connection in await asyncio.gather(*(connect() for _ in range(10))):
            await connection.close()
        assert calls_of(silent) == 1


async def test_silent_hosts_are_got_past_by_those_who_wait_for_less_than_one_of_them(orders_url: str) -> None:
    with silent_hosts(2) as silent:
        connect = connector(beside(orders_url, *map(port_of, silent)))

        async def connected() -> Any:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    return await connect()

        await (await eventually(connected)).close()


async def test_a_session_that_is_lost_goes_on_at_another_host(
    broker_url: str, way_to: Callable[[str], Forwarder]
) -> None:
    one, another = way_to(broker_url), way_to(broker_url)
    opened: asyncio.Queue[AbstractChannel] = asyncio.Queue()

    async def work(channel: AbstractChannel) -> None:
        lost = asyncio.Event()
        channel.close_callbacks.add(lost_by(lost))
        await opened.put(channel)
        await lost.wait()

    session = Session(RabbitMQ(beside(one.url, free_port(), another.port), TOPOLOGY), "test", work)
    async with running(session):
        await one.open()
        await opened.get()
        await another.open()
        await one.cut()
        await opened.get()
        session.stop()
        await another.cut()


async def test_dead_letters_are_found_past_a_host_that_is_away(
    broker: Broker, broker_url: str, payments_url: str
) -> None:
    places = ("--broker", beside(broker_url, free_port()), "--database", beside(payments_url, free_port()))
    outcome = await dead_letters("list", *places)
    assert outcome.status == 0, outcome


async def test_the_auditor_reads_past_a_host_that_is_away(orders_url: str, payments_url: str) -> None:
    urls = {
        "ORDERS_DATABASE_URL": beside(orders_url, free_port()),
        "PAYMENTS_DATABASE_URL": beside(payments_url, free_port()),
    }
    status, _, errors = await audited(**urls)
    assert (status, errors) == (0, "")


async def test_an_address_that_cannot_be_right_is_not_waited_for() -> None:
    with pytest.raises(asyncpg.InterfaceError, match="scheme"):
        await Database("mysql://gozon@127.0.0.1/gozon", "orders").open()
