import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from uuid import UUID, uuid4

import pytest

from gozon.topology import ORDER_CREATED, TOPOLOGY
from orders.messages import order_created
from payments.messages import payment_decided
from shopkit.db.database import Database
from shopkit.messaging import journey, outbox, relay
from shopkit.messaging.broker import BrokerUnavailable, RabbitMQ
from shopkit.messaging.events import Outgoing
from shopkit.messaging.low_water_mark import LowWaterMark
from shopkit.messaging.publisher import NotPublished, Publisher
from shopkit.messaging.relay import Relay
from shopkit.messaging.topology import Queue, Topology
from shopkit.runtime import retry
from tests.servers import Broker, Forwarder, rows, running, stalls, succeeds
from tests.support import eventually, free_port

CREATED = "payments.order-created"
RESULTS = "orders.payment-results"


def orders_created(count: int) -> list[Outgoing]:
    return [order_created(uuid4(), "ann", 100) for _ in range(count)]


async def put(database: Database, events: Sequence[Outgoing]) -> None:
    async with database.begin() as connection:
        await outbox.add(connection, events)


async def waiting(database: Database) -> list[UUID]:
    return [row.event_id for row in await rows(database, "SELECT event_id FROM outbox ORDER BY id")]


async def empty(database: Database) -> bool:
    return not await waiting(database)


async def received(broker: Broker, queue: str, count: int) -> list[UUID]:
    """Takes messages from the queue until they have `count` events. Returns the ids of all their events."""
    ids: list[UUID] = []
    while len(ids) < count:
        ids += [UUID(event["id"]) for event in await broker.take_events(queue)]
    return ids


def ids(events: Sequence[Outgoing]) -> list[UUID]:
    return [event.event_id for event in events]


@pytest.fixture
async def proxy(broker: Broker, broker_url: str, way_to: Callable[[str], Forwarder]) -> Forwarder:
    return way_to(broker_url)


@pytest.fixture
async def proxied(proxy: Forwarder) -> AsyncGenerator[Publisher]:
    """A publisher whose connection goes through `proxy`, which is closed at first."""
    proxied = Publisher(RabbitMQ(proxy.url, TOPOLOGY), "proxied")
    async with running(proxied):
        yield proxied


async def test_a_pass_publishes_events_in_order_and_deletes_their_rows(
    orders_database: Database, publisher: Publisher, broker: Broker
) -> None:
    created, decided = orders_created(3), [payment_decided(uuid4(), "ann", 100, None)]
    await put(orders_database, [*created[:1], *decided, *created[1:]])
    assert await Relay(orders_database, publisher, "orders-1").relay_once() == 4
    assert await received(broker, CREATED, 3) == ids(created)
    assert await received(broker, RESULTS, 1) == ids(decided)
    assert await empty(orders_database)


async def test_a_pass_takes_the_oldest_events_first(
    orders_database: Database, publisher: Publisher, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "RELAY_BATCH_SIZE", 2)
    created = orders_created(3)
    await put(orders_database, created)
    assert await Relay(orders_database, publisher, "orders-1").relay_once() == 2
    assert await waiting(orders_database) == ids(created[2:])


async def test_a_message_is_persistent_and_has_a_content_type(
    orders_database: Database, publisher: Publisher, broker: Broker
) -> None:
    (event,) = orders_created(1)
    await put(orders_database, [event])
    await Relay(orders_database, publisher, "orders-1").relay_once()
    message = await broker.take(CREATED)
    assert message.content_type == "application/cloudevents-batch+json"
    assert message.delivery_mode == 2
    assert json.loads(message.body) == [json.loads(event.event)]


async def test_a_pass_with_an_event_that_no_queue_takes_is_rolled_back(
    orders_database: Database, publisher: Publisher, broker: Broker
) -> None:
    created = orders_created(2)
    await put(orders_database, [*created, Outgoing(uuid4(), "unknown.type", b"{}")])
    with pytest.raises(NotPublished):
        await Relay(orders_database, publisher, "orders-1").relay_once()
    assert (await waiting(orders_database))[:2] == ids(created)
    assert len(await waiting(orders_database)) == 3


@pytest.mark.parametrize("deleted", [None, "test.order-created", CREATED])
async def test_an_event_leaves_the_outbox_only_when_every_queue_of_its_type_has_it(
    orders_database: Database, broker_url: str, broker: Broker, deleted: str | None
) -> None:
    second_reader = Queue("test.order-created", ORDER_CREATED.routing_keys)
    publisher = Publisher(RabbitMQ(broker_url, Topology((*TOPOLOGY, second_reader))), "test")
    created = orders_created(2)
    await put(orders_database, created)
    relaying = Relay(orders_database, publisher, "orders-1")
    async with running(publisher):
        await succeeds(publisher.check)
        if deleted:
            await broker.channel.queue_delete(deleted)
            with pytest.raises(NotPublished):
                await relaying.relay_once()
            assert await waiting(orders_database) == ids(created)
        async with running(relaying):
            await eventually(lambda: empty(orders_database))
    for queue in (CREATED, second_reader.name):
        assert set(ids(created)) == set(await received(broker, queue, 2))


async def test_a_pass_whose_connection_is_lost_before_the_confirm_is_rolled_back(
    orders_database: Database, proxied: Publisher, proxy: Forwarder
) -> None:
    await proxy.open()
    await succeeds(proxied.check)
    created = orders_created(2)
    await put(orders_database, created)
    proxy.hold()
    passing = asyncio.create_task(Relay(orders_database, proxied, "orders-1").relay_once())

    async def rows_are_locked() -> bool:
        held = "SELECT 1 FROM pg_locks JOIN pg_class ON relation = pg_class.oid WHERE relname = 'outbox'"
        return bool(await rows(orders_database, held))

    await eventually(rows_are_locked)
    await proxy.cut()
    with pytest.raises(NotPublished):
        await passing
    assert await waiting(orders_database) == ids(created)


async def test_events_wait_while_the_broker_is_unavailable_and_are_then_published(
    orders_database: Database, proxied: Publisher, proxy: Forwarder, broker: Broker
) -> None:
    relaying = Relay(orders_database, proxied, "orders-1")
    created = orders_created(2)
    await put(orders_database, created)
    with pytest.raises(NotPublished):  # before the running relay can lock the rows
        await Relay(orders_database, proxied, "orders-1").relay_once()
    async with running(relaying):
        assert await waiting(orders_database) == ids(created)
        await proxy.open()
        assert await received(broker, CREATED, 2) == ids(created)
        await eventually(lambda: empty(orders_database))


async def test_a_relay_whose_passes_fail_for_too_long_is_not_ready(
    orders_database: Database, proxied: Publisher, proxy: Forwarder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "STALLED_SECONDS", 0.1)
    relaying = Relay(orders_database, proxied, "orders-1")
    await put(orders_database, orders_created(1))
    async with running(relaying):
        await stalls(relaying.check)
        await proxy.open()
        await succeeds(relaying.check)
    assert await empty(orders_database)


async def test_the_relay_continues_after_a_lost_connection(
    orders_database: Database, proxied: Publisher, proxy: Forwarder, broker: Broker
) -> None:
    relaying = Relay(orders_database, proxied, "orders-1")
    first, second = orders_created(2)
    await proxy.open()
    async with running(relaying):
        await put(orders_database, [first])
        relaying.wake()
        assert await received(broker, CREATED, 1) == [first.event_id]
        await proxy.cut()
        await put(orders_database, [second])
        relaying.wake()
        await proxy.open()
        assert second.event_id in await received(broker, CREATED, 1)


async def test_publishing_to_an_unavailable_broker_raises(orders_database: Database) -> None:
    publisher = Publisher(RabbitMQ(f"amqp://gozon@127.0.0.1:{free_port()}/", TOPOLOGY), "test")
    async with running(publisher):
        with pytest.raises(NotPublished):
            await publisher.publish("order.created", [b"{}"])
        with pytest.raises(BrokerUnavailable):
            await publisher.check()


async def test_concurrent_relays_publish_each_event_once(
    orders_database: Database, publisher: Publisher, broker: Broker
) -> None:
    created = orders_created(1_500)
    await put(orders_database, created)
    relays = [Relay(orders_database, publisher, "orders-1") for _ in range(2)]
    async with running(*relays):
        await eventually(lambda: empty(orders_database))
    assert Counter(await received(broker, CREATED, len(created))) == Counter(ids(created))
    assert await broker.ready_in(CREATED) == 0


async def test_a_relay_skips_rows_that_another_relay_has_locked(
    orders_database: Database, publisher: Publisher, broker: Broker
) -> None:
    held, free = orders_created(2)
    await put(orders_database, [held])
    async with orders_database.begin() as other:
        await outbox.take(other, 500, LowWaterMark())
        await put(orders_database, [free])
        async with asyncio.timeout(5):
            assert await Relay(orders_database, publisher, "orders-1").relay_once() == 1
    assert await received(broker, CREATED, 1) == [free.event_id]


async def test_the_relay_adds_its_hop_only_to_events_with_a_journey(
    orders_database: Database, publisher: Publisher, broker: Broker
) -> None:
    accepted = journey.now("accepted", "orders-1")
    hopped = [order_created(uuid4(), "ann", 100, None, [accepted]), *orders_created(1)]
    decided = payment_decided(uuid4(), "ann", 100, None, None, [accepted])
    await put(orders_database, [*hopped, decided])
    await Relay(orders_database, publisher, "orders-2", {"order.created": "relayed"}).relay_once()
    with_journey, without = await broker.take_events(CREATED)
    assert [(hop["hop"], hop["replica"]) for hop in with_journey["journey"]] == [
        ("accepted", "orders-1"),
        ("relayed", "orders-2"),
    ]
    assert without == json.loads(hopped[1].event)
    assert await broker.take_events(RESULTS) == [json.loads(decided.event)]


async def test_a_woken_relay_does_not_wait_for_the_poll(
    orders_database: Database, publisher: Publisher, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 600)
    monkeypatch.setattr(relay, "RELAY_BATCH_SIZE", 2)
    published, held, may_finish = publisher.publish, asyncio.Event(), asyncio.Event()
    may_finish.set()

    async def publish(routing_key: str, events: list[bytes]) -> None:
        held.set()
        await may_finish.wait()
        await published(routing_key, events)

    monkeypatch.setattr(publisher, "publish", publish)
    relaying = Relay(orders_database, publisher, "orders-1")
    async with running(relaying):
        while_idle = orders_created(3)  # more than one pass takes
        await put(orders_database, while_idle)
        relaying.wake()
        assert await received(broker, CREATED, 3) == ids(while_idle)

        await eventually(lambda: empty(orders_database))
        held.clear()
        may_finish.clear()
        first, while_passing = orders_created(1), orders_created(1)
        await put(orders_database, first)
        relaying.wake()
        await held.wait()
        await put(orders_database, while_passing)
        relaying.wake()
        may_finish.set()
        assert await received(broker, CREATED, 2) == ids([*first, *while_passing])
