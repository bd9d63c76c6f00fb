"""Servers that are too slow for a full batch: the batch size falls until a batch succeeds within the timeout."""

from collections.abc import AsyncGenerator, Callable, Sequence
from uuid import UUID, uuid4

import pytest

from gozon.topology import ORDER_CREATED, TOPOLOGY
from orders.messages import order_created
from payments.messages import receive
from shopkit.db.connect import CONNECT
from shopkit.db.database import Connection, Database
from shopkit.messaging import outbox, publisher
from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.consumer import Consumer
from shopkit.messaging.inbox import Inbox, OnCommitted
from shopkit.messaging.inbox_store import WaitingEvent
from shopkit.messaging.publisher import Publisher
from shopkit.messaging.relay import Relay
from tests.servers import Broker, Forwarder, rows, running, succeeds
from tests.shopkit.inbox_events import events, store
from tests.support import eventually

SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END$$
"""
TIMEOUT_SECONDS = 120  # each test needs only a few seconds


async def ignore(_: Connection, __: Sequence[WaitingEvent]) -> OnCommitted:
    return lambda: None


@pytest.fixture
async def impatient(
    payments_database: Database, payments_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Database]:
    """The payments database with a timeout of 1 s per statement, in which at most 50 rows can be written."""
    await rows(payments_database, SLOW)
    await rows(
        payments_database,
        "CREATE TRIGGER slow BEFORE INSERT OR UPDATE OF processed_at ON inbox FOR EACH ROW"
        " WHEN (current_setting('application_name') = 'impatient') EXECUTE FUNCTION slow()",
    )
    monkeypatch.setitem(CONNECT, "command_timeout", 1)
    monkeypatch.setitem(CONNECT, "server_settings", CONNECT["server_settings"] | {"application_name": "impatient"})
    database = Database(payments_url, "payments")
    await database.open()
    yield database
    await database.close()


async def stored(database: Database) -> set[UUID]:
    return {row.event_id for row in await rows(database, "SELECT event_id FROM inbox")}


async def test_an_inbox_processes_events_whose_full_batch_times_out(
    payments_database: Database, impatient: Database
) -> None:
    received = events(150)
    await store(payments_database, received)

    async def all_processed() -> bool:
        return not await rows(payments_database, "SELECT 1 FROM inbox WHERE processed_at IS NULL")

    async with running(Inbox(impatient, "payments-1", ignore)):
        await eventually(all_processed, TIMEOUT_SECONDS)
    assert not await rows(payments_database, "SELECT 1 FROM inbox WHERE attempts > 0 OR lonely_crashes >= 0")


async def test_a_consumer_stores_events_whose_full_batch_times_out(
    payments_database: Database, impatient: Database, broker: Broker, broker_url: str
) -> None:
    created = [order_created(uuid4(), "ann", 100) for _ in range(150)]
    await broker.publish(*created)
    consumer = Consumer(
        RabbitMQ(broker_url, TOPOLOGY),
        "test",
        ORDER_CREATED,
        receive,
        Inbox(impatient, "payments-1", ignore).store,
        Publisher(RabbitMQ(broker_url, TOPOLOGY), "test"),
    )

    async def all_stored() -> bool:
        return await stored(payments_database) == {event.event_id for event in created}

    async with running(consumer):
        await eventually(all_stored, TIMEOUT_SECONDS)
    assert await broker.left_in(ORDER_CREATED.name) == 0


async def test_a_relay_publishes_events_whose_full_batch_times_out(
    orders_database: Database,
    broker: Broker,
    broker_url: str,
    way_to: Callable[[str], Forwarder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "CONFIRM_TIMEOUT", 1)
    async with orders_database.begin() as connection:
        await outbox.add(connection, [order_created(uuid4(), "ann", 100) for _ in range(500)])
    proxy = way_to(broker_url)
    proxy.slow_down(50_000)
    await proxy.open()
    proxied = Publisher(RabbitMQ(proxy.url, TOPOLOGY), "proxied")

    async def is_empty() -> bool:
        return not await rows(orders_database, "SELECT 1 FROM outbox")

    async with running(proxied):
        await succeeds(proxied.check)
        async with running(Relay(orders_database, proxied, "orders-1")):
            await eventually(is_empty, TIMEOUT_SECONDS)
