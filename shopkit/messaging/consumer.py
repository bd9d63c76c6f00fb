"""The consumer: takes messages from a queue, handles their events in batches, and acknowledges afterwards.

A message is acknowledged only after each of its events was handled or became a confirmed dead letter. If the
process crashes or loses its connection before that, RabbitMQ delivers the message again. So delivery is at least
once, and a handler must be idempotent.

Errors of a handler are treated by their cause (`shopkit.runtime.retry.cause_of`):
- Transient (the database is unavailable): the consumer keeps its messages unacknowledged and tries again with
  backoff. The prefetch limit then stops further deliveries. No message is requeued, so none is delivered over and
  over.
- The content of an event: the batch is halved until the failing event is alone. It becomes a dead letter.
- A defect of the program or the schema: `run` raises, which ends the process.

A message that crashes the process raises no error. RabbitMQ delivers it again, together with all other messages
that were prefetched, and counts a redelivery for each of them. After QUARANTINE_REDELIVERIES redeliveries, a
message is therefore moved to the queue `<queue>.alone`, the quarantine. Each replica takes one message at a time
from there. So RabbitMQ counts the crashes during which this one message was handled. When they exceed the delivery
limit of that queue, RabbitMQ itself dead-letters the message.

RabbitMQ counts a lost connection like a crash. So a harmless message is quarantined too, for example after two
restarts of a consumer that waited for its database. It is then handled in isolation, which is slower.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import structlog

from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.delivery import Delivery
from shopkit.messaging.event_log import log_fields
from shopkit.messaging.events import UNDECODABLE, decode_batch, encode_batch
from shopkit.messaging.publisher import NotPublished, Publisher
from shopkit.messaging.subscription import Stopped, Subscription
from shopkit.messaging.topology import Queue
from shopkit.observability import tracing
from shopkit.observability.metrics import BATCH_SIZE, DEAD_LETTERED, HANDLER_FAILURES, RECEIVED
from shopkit.runtime.retry import Backoff, BatchSize, Cause, cause_of, pause

PREFETCH = 200
# Redeliveries (after a crash or a lost connection) from which a message is suspected. One redelivery says little.
QUARANTINE_REDELIVERIES = 2
# Largest batch of events. A subscription takes fewer events at a time, so only a timeout makes a batch smaller.
HANDLED_EVENTS_LIMIT = 4_000
# Headers in which RabbitMQ counts deliveries. They are left out of a copy, which has no deliveries yet.
BROKER_COUNTERS = frozenset({"x-delivery-count", "x-acquired-count"})

T = TypeVar("T")
log = structlog.get_logger()


class Refused(Exception):
    """A handler raises this when it will never accept some events of its batch, and all others are safely handled.

    `reasons` maps the position of each refused event in the batch to the reason. These events become dead letters.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(*reasons.values())
        self.reasons = reasons


class DecodedEvent(NamedTuple, Generic[T]):
    encoded: bytes
    event: T


class Consumer(Generic[T]):
    """A worker that consumes `queue` and its quarantine.

    `decode` turns one encoded event into the type that `handle` takes. It raises msgspec.DecodeError for any other
    input. `handle` receives the events of several messages together. It must be idempotent. It must raise unless
    all its events are safely handled; it raises Refused if that holds for all except some.
    """

    def __init__(
        self,
        rabbitmq: RabbitMQ,
        name: str,
        queue: Queue,
        decode: Callable[[bytes], T],
        handle: Callable[[Sequence[T]], Awaitable[None]],
        publisher: Publisher,
    ) -> None:
        self._main = Subscription(rabbitmq, f"{name} consumer", queue.name, PREFETCH, self._on_messages)
        self._quarantine = Subscription(
            rabbitmq, f"{name} quarantine consumer", queue.quarantine, 1, self._on_quarantined_message
        )
        self._queue = queue
        self._decode = decode
        self._handle = handle
        self._publisher = publisher
        self._size = BatchSize(HANDLED_EVENTS_LIMIT)
        # Held while messages are moved into quarantine, and while a quarantined message is handled.
        self._quarantine_lock = asyncio.Lock()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as subscriptions:
            subscriptions.create_task(self._main.run())
            subscriptions.create_task(self._quarantine.run())

    def stop(self) -> None:
        """Takes no more messages. The current batch is finished and acknowledged."""
        self._main.stop()
        self._quarantine.stop()

    async def check(self) -> None:
        """Raises ConnectionError while a queue is not consumed, and Stalled if a batch takes too long."""
        await self._main.check()
        await self._quarantine.check()

    async def _on_messages(self, messages: list[Delivery]) -> None:
        """Moves suspected messages into quarantine, and handles the others."""
        suspected = [message for message in messages if _redeliveries(message) >= QUARANTINE_REDELIVERIES]
        unsuspected = [message for message in messages if _redeliveries(message) < QUARANTINE_REDELIVERIES]
        if suspected:
            await self._move_to_quarantine(suspected)
        if unsuspected:
            await self._handle_and_acknowledge(unsuspected)

    async def _move_to_quarantine(self, messages: list[Delivery]) -> None:
        """Returns when RabbitMQ has processed the acknowledgements of the moved messages.

        Until then, the lock keeps this process from handling a quarantined message. Otherwise it could receive the
        copy of a moved message and crash on it before RabbitMQ has the acknowledgement of the original. Both would
        then be delivered again, cause more crashes, and become two dead letters.
        """
        async with self._quarantine_lock:
            for message in messages:
                log.warning(
                    "message quarantined after repeated redelivery", queue=self._queue.name, id=message.message_id
                )
                await self._replace_by_quarantined(message, [message.body])
            await messages[-1].wait_acknowledged(self._queue.name)

    async def _on_quarantined_message(self, messages: list[Delivery]) -> None:
        """Handles the one message; or splits it if it was redelivered here, so that only its culprit is lost."""
        (message,) = messages
        async with self._quarantine_lock:
            if _redeliveries(message) and len(events := _encoded_events(message.body)) > 1:
                await self._replace_by_quarantined(message, [encode_batch([event]) for event in events])
            else:
                await self._handle_and_acknowledge(messages)

    async def _replace_by_quarantined(self, message: Delivery, bodies: list[bytes]) -> None:
        """Publishes `bodies` to the quarantine, and acknowledges `message` after all of them are confirmed."""
        headers = {key: value for key, value in message.headers.items() if key not in BROKER_COUNTERS}
        for body in bodies:
            await self._publish_with_retry(partial(self._publisher.send, self._queue.quarantine, body, headers))
        await message.ack()

    async def _handle_and_acknowledge(self, messages: list[Delivery]) -> None:
        """Acknowledges `messages` after each of their events was handled or became a dead letter."""
        events: list[DecodedEvent[T]] = []
        for message in messages:
            events += await self._decoded(message)
        if events:
            BATCH_SIZE.labels(self._queue.name).observe(len(events))
            await self._handle_all(events)
        await messages[-1].ack(multiple=True)
        RECEIVED.labels(self._queue.name).inc(len(events))

    async def _decoded(self, message: Delivery) -> list[DecodedEvent[T]]:
        """Returns the events of a message that can be decoded, and dead-letters the rest."""
        if message.flaw:
            await self._dead_letter(message.body, f"invalid message properties: {message.flaw}")
            return []
        try:
            encoded = decode_batch(message.body)
        except UNDECODABLE as error:
            await self._dead_letter(message.body, f"not a batch of events: {error}")
            return []
        events: list[DecodedEvent[T]] = []
        for event in encoded:
            try:
                events.append(DecodedEvent(event, self._decode(event)))
            except UNDECODABLE as error:
                await self._dead_letter(encode_batch([event]), f"not an event of this queue: {error}")
        return events

    async def _handle_all(self, events: Sequence[DecodedEvent[T]]) -> None:
        while events:
            limit = self._size.limit
            await self._handle_or_bisect(events[:limit])
            events = events[limit:]

    async def _handle_or_bisect(self, events: Sequence[DecodedEvent[T]]) -> None:
        """Handles `events`. Returns when each of them is handled or a dead letter.

        A transient error is retried. After a timeout, the limit of BatchSize falls, and the events are handled in
        smaller batches. If the content of an event can be the cause, both halves of the batch are handled one after
        the other; a single event becomes a dead letter. Raises the error if it is a defect.
        """
        backoff = Backoff()
        while len(events) <= self._size.limit:
            try:
                with (
                    self._size.observing(events),
                    tracing.batch(f"handle {self._queue.name}", (tracing.of_event(e.encoded) for e in events)),
                ):
                    return await self._handle([event.event for event in events])
            except Refused as refused:
                for index, reason in refused.reasons.items():
                    await self._dead_letter(encode_batch([events[index].encoded]), reason)
                return None
            except Exception as error:
                HANDLER_FAILURES.labels(self._queue.name).inc()
                cause = cause_of(error)
                if cause is Cause.DEFECT:
                    raise
                if cause is Cause.CONTENT:
                    reason = repr(error)
                    break
                log.warning("handler: retrying after a transient error", queue=self._queue.name, error=repr(error))
            await self._wait(backoff)
        else:  # a timeout has lowered the limit below this batch
            return await self._handle_all(events)
        log.error(
            "handler failed",
            queue=self._queue.name,
            events=len(events),
            error=reason,
            **log_fields(events[0].encoded),
        )
        if len(events) == 1:
            return await self._dead_letter(encode_batch([events[0].encoded]), reason)
        middle = len(events) // 2
        await self._handle_or_bisect(events[:middle])
        return await self._handle_or_bisect(events[middle:])

    async def _dead_letter(self, body: bytes, reason: str) -> None:
        """Returns when RabbitMQ has confirmed the dead letter."""
        log.error("message dead-lettered", queue=self._queue.name, reason=reason)
        await self._publish_with_retry(partial(self._publisher.dead_letter, self._queue, body, reason))
        DEAD_LETTERED.labels(self._queue.name).inc()

    async def _publish_with_retry(self, publish: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff()
        while True:
            try:
                return await publish()
            except NotPublished as error:
                log.warning("publisher: retrying after a broker error", queue=self._queue.name, error=repr(error))
            await self._wait(backoff)

    async def _wait(self, backoff: Backoff) -> None:
        """Waits before the next attempt. Raises Stopped if the consumer must stop."""
        await pause(self._main.stopping, backoff.next())
        if self._main.stopping.is_set():
            raise Stopped


def _redeliveries(message: Delivery) -> int:
    count = message.headers.get("x-delivery-count")
    return count if isinstance(count, int) else 0


def _encoded_events(body: bytes) -> list[bytes]:
    """Returns the events of a message, or an empty list if it cannot be decoded."""
    with suppress(*UNDECODABLE):
        return decode_batch(body)
    return []
