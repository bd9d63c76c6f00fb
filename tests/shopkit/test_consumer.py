"""Tests of the consumer. Its events are numbers: `{"n": 1}`."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import asyncpg
import msgspec
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelPreconditionFailed
from pamqp import commands as spec
from pamqp.header import ContentHeader

from gozon.topology import ORDER_CREATED, TOPOLOGY
from shopkit.db.database import Database
from shopkit.messaging import consumer as shop_consumer
from shopkit.messaging.broker import RabbitMQ, Session
from shopkit.messaging.consumer import PREFETCH, QUARANTINE_REDELIVERIES, Consumer
from shopkit.messaging.delivery import Delivery
from shopkit.messaging.publisher import Publisher
from shopkit.messaging.subscription import OnMessages, Subscription
from shopkit.messaging.topology import Queue
from shopkit.runtime import retry
from tests.servers import Broker, Forwarder, running, stalls, succeeds
from tests.shopkit.defects import DEFECTS
from tests.shopkit.flawed import FLAWED, Raw
from tests.support import PATIENCE, eventually

QUEUE = ORDER_CREATED.name
KEY = ORDER_CREATED.routing_keys[0]
# No version of Python decodes a million levels: 3.11 decodes 1,000, 3.13 decodes 10,000, 3.14 what fits on its
# stack.
TOO_DEEP = b"[" * 1_000_000 + b"]" * 1_000_000


class Number(msgspec.Struct, frozen=True):
    n: int


class Handler:
    """Records the numbers it handles.

    It raises a transient error while `unavailable`, and ValueError for `poison`.
    """

    def __init__(self) -> None:
        self.handled: list[int] = []
        self.failures: list[list[int]] = []
        self.unavailable = False
        self.poison: set[int] = set()

    async def __call__(self, numbers: Sequence[Number]) -> None:
        given = [number.n for number in numbers]
        if self.unavailable:
            self.failures.append(given)
            raise ConnectionRefusedError("unavailable")
        if self.poison & set(given):
            self.failures.append(given)
            raise ValueError("poison")
        self.handled += given

    async def has(self, *numbers: int) -> None:
        async def are_handled() -> bool:
            return set(numbers) <= set(self.handled)

        await eventually(are_handled)

    async def has_failed(self, times: int) -> None:
        async def failed() -> bool:
            return len(self.failures) >= times

        await eventually(failed)


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def proxy(broker_url: str, way_to: Callable[[str], Forwarder]) -> Forwarder:
    return way_to(broker_url)


@asynccontextmanager
async def consuming(url: str, handler: Handler, publisher: Publisher) -> AsyncGenerator[Consumer[Number]]:
    decode = msgspec.json.Decoder(Number).decode
    consumer = Consumer(RabbitMQ(url, TOPOLOGY), "test", ORDER_CREATED, decode, handler, publisher)
    async with running(consumer):
        yield consumer


async def dead_letter(broker: Broker, queue: Queue = ORDER_CREATED) -> tuple[bytes, str]:
    message = await broker.take(queue.dead)
    return message.body, str(message.headers["x-reason"])


async def test_handled_messages_are_acknowledged(
    broker: Broker, broker_url: str, publisher: Publisher, handler: Handler
) -> None:
    for n in range(0, 30, 3):
        await broker.publish_body(KEY, b'[{"n":%d},{"n":%d},{"n":%d}]' % (n, n + 1, n + 2))
    async with consuming(broker_url, handler, publisher):
        await handler.has(*range(30))
    assert handler.handled == list(range(30))
    assert await broker.left_in(QUEUE) == 0


async def test_more_messages_than_the_prefetch_limit_are_all_handled(
    broker: Broker, broker_url: str, publisher: Publisher, handler: Handler
) -> None:
    count = 2 * PREFETCH + 50
    await asyncio.gather(*(broker.publish_body(KEY, b'[{"n":%d}]' % n) for n in range(count)))
    async with consuming(broker_url, handler, publisher):
        await handler.has(*range(count))
    assert sorted(handler.handled) == list(range(count))
    assert await broker.left_in(QUEUE) == 0


async def test_messages_are_kept_and_not_requeued_while_the_handler_fails_transiently(
    broker: Broker, broker_url: str, publisher: Publisher, handler: Handler
) -> None:
    handler.unavailable = True
    await broker.publish_body(KEY, b'[{"n":1}]')
    async with consuming(broker_url, handler, publisher):
        await handler.has_failed(4)
        assert await broker.ready_in(QUEUE) == 0
    message = await broker.take(QUEUE)
    assert message.headers["x-delivery-count"] == 1  # requeued once, when the consumer stopped
    assert handler.failures == [[1]] * len(handler.failures)
    assert await broker.ready_in(ORDER_CREATED.dead) == 0


async def test_a_message_is_handled_when_the_transient_error_is_over(
    broker: Broker, broker_url: str, publisher: Publisher, handler: Handler
) -> None:
    handler.unavailable = True
    await broker.publish_body(KEY, b'[{"n":1},{"n":2}]')
    async with consuming(broker_url, handler, publisher):
        await handler.has_failed(2)
        handler.unavailable = False
        await handler.has(1, 2)
    assert handler.handled == [1, 2]
    assert await broker.left_in(QUEUE) == 0


@pytest.mark.parametrize("poison", [1, 3, 5])
async def test_only_the_event_that_cannot_be_handled_is_dead_lettered(
    broker: Broker, broker_url: str, publisher: Publisher, handler: Handler, poison: int
) -> None:
    handler.poison = {poison}
    await broker.publish_body(KEY, b'[{"n":1},{"n":2},{"n":3},{"n":4},{"n":5}]')
    async with consuming(broker_url, handler, publisher):
        assert await dead_letter(broker) == (b'[{"n":%d}]' % poison, "ValueError('poison')")
        await handler.has(*{1, 2, 3, 4, 5} - {poison})
        await broker.publish_body(KEY, b'[{"n":6}]')
        await handler.has(6)
    assert sorted(handler.handled) == sorted({1, 2, 3, 4, 5, 6} - {poison})
    assert await broker.left_in(QUEUE) == 0
    assert await broker.ready_in(ORDER_CREATED.dead) == 0


@pytest.mark.parametrize(
    ("body", "dead_lettered"),
    [
        (b"", b""),
        (b"neither JSON nor anything", b"neither JSON nor anything"),
        (b"\xff\xfe\x00", b"\xff\xfe\x00"),
        (b'{"n":1}', b'{"n":1}'),
        (TOO_DEEP, TOO_DEEP),
        (b'[{"n":1},{"m":2},{"n":3}]', b'[{"m":2}]'),
        (b'[{"n":1},{"n":"\xff"},{"n":3}]', b'[{"n":"\xff"}]'),
        (b'[{"n":1},{"x":%s,"n":2},{"n":3}]' % TOO_DEEP, None),
    ],
    ids=["empty", "not-json", "not-utf-8", "no-array", "too-deep", "one-broken", "one-not-utf-8", "one-too-deep"],
)
async def test_undecodable_input_is_dead_lettered_with_a_reason_and_the_rest_is_handled(
    broker: Broker,
    broker_url: str,
    publisher: Publisher,
    handler: Handler,
    body: bytes,
    dead_lettered: bytes | None,
) -> None:
    await broker.publish_body(KEY, body)
    await broker.publish_body(KEY, b'[{"n":4}]')
    async with consuming(broker_url, handler, publisher):
        letter, reason = await dead_letter(broker)
        await handler.has(4)
    assert dead_lettered is None or letter == dead_lettered
    assert reason.startswith("not ")
    if b'"n":3' in body and letter != body:
        assert handler.handled == [1, 3, 4]
    assert await broker.left_in(QUEUE) == 0


async def test_quarantined_messages_are_handled_one_by_one(
    broker: Broker, broker_url: str, publisher: Publisher, handler: Handler
) -> None:
    handler.poison = {2}
    for body in (b"unreadable", b'[{"n":1},{"n":2},{"n":3}]', b'[{"n":4}]'):
        await publisher.send(ORDER_CREATED.quarantine, body, {})
    async with consuming(broker_url, handler, publisher):
        await handler.has(1, 3, 4)
        letters = [await dead_letter(broker), await dead_letter(broker)]
    assert [letter for letter, _ in letters] == [b"unreadable", b'[{"n":2}]']
    assert handler.handled == [1, 3, 4]  # one message after the other
    assert await broker.left_in(ORDER_CREATED.quarantine) == 0


async def test_a_message_is_not_acknowledged_before_its_dead_letter_is_confirmed(
    broker: Broker, broker_url: str, proxy: Forwarder, handler: Handler
) -> None:
    proxied = Publisher(RabbitMQ(proxy.url, TOPOLOGY), "proxied")
    await broker.publish_body(KEY, b"unreadable")
    async with running(proxied), consuming(broker_url, handler, proxied) as consumer:
        await succeeds(consumer.check)
        await broker.publish_body(KEY, b'[{"n":1}]')
        assert await broker.ready_in(ORDER_CREATED.dead) == 0
    assert await broker.left_in(QUEUE) == 2
    assert (await broker.take(QUEUE)).body == b"unreadable"
    assert handler.handled == []


async def test_a_dead_letter_is_published_when_the_broker_is_available_again(
    broker: Broker, broker_url: str, proxy: Forwarder, handler: Handler
) -> None:
    proxied = Publisher(RabbitMQ(proxy.url, TOPOLOGY), "proxied")
    await broker.publish_body(KEY, b"unreadable")
    async with running(proxied), consuming(broker_url, handler, proxied) as consumer:
        await succeeds(consumer.check)
        await proxy.open()
        assert (await dead_letter(broker))[0] == b"unreadable"


async def test_unacknowledged_messages_are_redelivered_after_a_lost_connection(
    broker: Broker, proxy: Forwarder, publisher: Publisher, handler: Handler
) -> None:
    await proxy.open()
    handler.unavailable = True
    await broker.publish_body(KEY, b'[{"n":1}]')
    async with consuming(proxy.url, handler, publisher):
        await handler.has_failed(1)
        await proxy.cut()
        handler.unavailable = False
        await handler.has(1)
        await proxy.open()

        async def handled_again() -> bool:
            return len(handler.handled) > 1 and await broker.ready_in(QUEUE) == 0

        await eventually(handled_again)
    assert set(handler.handled) == {1}
    assert await broker.left_in(QUEUE) == 0


async def test_an_idle_consumer_reconnects_after_a_lost_connection(
    broker: Broker, proxy: Forwarder, publisher: Publisher, handler: Handler
) -> None:
    await proxy.open()
    async with consuming(proxy.url, handler, publisher) as consumer:
        await succeeds(consumer.check)
        await proxy.cut()
        await proxy.open()
        await broker.publish_body(KEY, b'[{"n":1}]')
        await handler.has(1)


async def test_a_consumer_starts_while_the_broker_is_unavailable(
    broker: Broker, proxy: Forwarder, publisher: Publisher, handler: Handler
) -> None:
    async with consuming(proxy.url, handler, publisher) as consumer:
        with pytest.raises(ConnectionError, match=QUEUE):
            await consumer.check()
        await broker.publish_body(KEY, b'[{"n":1}]')
        await proxy.open()
        await handler.has(1)


async def test_a_consumer_is_not_ready_while_its_quarantine_cannot_be_consumed(
    broker: Broker, broker_url: str, publisher: Publisher, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose_every_channel(_: AbstractChannel) -> None:
        raise ConnectionResetError

    class BrokenQuarantine(Subscription):
        def __init__(
            self, rabbitmq: RabbitMQ, name: str, queue: str, prefetch: int, on_messages: OnMessages
        ) -> None:
            super().__init__(rabbitmq, name, queue, prefetch, on_messages)
            if queue == ORDER_CREATED.quarantine:
                self._session = Session(rabbitmq, name, lose_every_channel)

    monkeypatch.setattr(shop_consumer, "Subscription", BrokenQuarantine)
    async with consuming(broker_url, handler, publisher) as consumer:
        await broker.publish_body(KEY, b'[{"n":1}]')
        await handler.has(1)

        async def check_names_the_quarantine() -> bool:
            try:
                await consumer.check()
            except ConnectionError as error:
                return ORDER_CREATED.quarantine in str(error)
            return False

        await eventually(check_names_the_quarantine)


@pytest.mark.parametrize("statement", [*DEFECTS.values(), None], ids=[*DEFECTS, "no-file"])
@pytest.mark.parametrize("queue", [QUEUE, ORDER_CREATED.quarantine])
async def test_a_defect_of_program_or_schema_ends_the_consumer(
    broker: Broker,
    broker_url: str,
    publisher: Publisher,
    orders_database: Database,
    queue: str,
    statement: str | None,
) -> None:
    async def handle(_: Sequence[Number]) -> None:
        async with orders_database.begin() as connection:
            await connection.execute(statement or f"SELECT {Path('no-such-file').read_text()}")

    decode = msgspec.json.Decoder(Number).decode
    consumer = Consumer(RabbitMQ(broker_url, TOPOLOGY), "test", ORDER_CREATED, decode, handle, publisher)
    await publisher.send(queue, b'[{"n":1},{"n":2}]', {})
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(consumer.run(), PATIENCE)
    assert raised.group_contains(asyncpg.PostgresError if statement else FileNotFoundError)
    assert await broker.left_in(queue) == 1
    assert await broker.ready_in(ORDER_CREATED.dead) == 0


async def test_a_consumer_that_retries_one_batch_for_too_long_is_not_ready(
    broker: Broker, broker_url: str, publisher: Publisher, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "STALLED_SECONDS", 0.1)
    handler.unavailable = True
    await broker.publish_body(KEY, b'[{"n":1}]')
    async with consuming(broker_url, handler, publisher) as consumer:
        await stalls(consumer.check)
        handler.unavailable = False
        await handler.has(1)
        await succeeds(consumer.check)


async def test_a_deleted_queue_is_declared_again_and_consumed(
    broker: Broker, broker_url: str, publisher: Publisher, handler: Handler
) -> None:
    async with consuming(broker_url, handler, publisher) as consumer:
        await succeeds(consumer.check)
        await broker.publish_body(KEY, b'[{"n":1}]')
        await handler.has(1)
        await broker.channel.queue_delete(QUEUE)
        # Raises until the queue exists again.
        await succeeds(lambda: broker.publish_body(KEY, b'[{"n":2}]'))
        await handler.has(2)


@pytest.mark.parametrize("properties", FLAWED.values(), ids=FLAWED.keys())
async def test_a_message_with_invalid_properties_is_dead_lettered_and_the_rest_is_handled(
    broker: Broker, broker_url: str, publisher: Publisher, handler: Handler, properties: Raw
) -> None:
    underlay = await broker.channel.get_underlay_channel()
    await broker.publish_body(KEY, b'[{"n":1}]')
    try:
        await underlay.basic_publish(b'[{"n":2}]', routing_key=QUEUE, properties=properties)
    except ChannelPreconditionFailed as error:
        pytest.skip(f"this broker rejects it: {error}")
    await broker.publish_body(KEY, b'[{"n":3}]')
    async with consuming(broker_url, handler, publisher):
        await handler.has(1, 3)
        letter, reason = await dead_letter(broker)
    assert (letter, reason[:26]) == (b'[{"n":2}]', "invalid message properties")
    assert handler.handled == [1, 3]
    assert await broker.left_in(QUEUE) == await broker.ready_in(ORDER_CREATED.quarantine) == 0


@pytest.mark.parametrize(
    ("mode", "flaw"), [(None, None), (1, None), (2, None), (0, "delivery mode 0"), (7, "delivery mode 7")]
)
def test_an_invalid_delivery_mode_is_a_flaw(mode: int | None, flaw: str | None) -> None:
    properties = spec.Basic.Properties()
    properties.delivery_mode = mode
    header = ContentHeader(properties=properties)
    assert Delivery(DeliveredMessage(spec.Basic.Deliver(), header, b"", cast("Any", None))).flaw == flaw


@pytest.mark.parametrize("moved", [1, 3])
async def test_a_quarantined_message_is_in_one_queue_only_when_it_crashes_its_process(
    broker: Broker,
    proxy: Forwarder,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    moved: int,
) -> None:
    """Cutting all connections of the consumer stands for a crash: the broker sees no difference."""
    crashed = asyncio.Event()

    async def crash(_: Sequence[Number]) -> None:
        await proxy.cut()
        crashed.set()
        await asyncio.Event().wait()

    async def ack_late(delivery: Delivery, *, multiple: bool = False) -> None:
        await asyncio.sleep(0.2)  # long enough for the copy to be delivered
        await ack(delivery, multiple=multiple)

    ack = Delivery.ack
    monkeypatch.setattr(Delivery, "ack", ack_late)
    for n in range(moved):
        await broker.publish_body(KEY, b'[{"n":%d}]' % n)
    queue = await broker.channel.get_queue(QUEUE)
    for _ in range(QUARANTINE_REDELIVERIES):
        for message in [await queue.get() for _ in range(moved)]:
            await message.reject(requeue=True)

    decode = msgspec.json.Decoder(Number).decode
    consumer = Consumer(RabbitMQ(proxy.url, TOPOLOGY), "test", ORDER_CREATED, decode, crash, publisher)
    consuming = asyncio.create_task(consumer.run())
    await proxy.open()
    await asyncio.wait_for(crashed.wait(), 30)
    assert await broker.left_in(QUEUE) == 0
    assert await broker.left_in(ORDER_CREATED.quarantine) == moved
    consuming.cancel()
    with suppress(asyncio.CancelledError):
        await consuming
