"""Consuming: the events of all messages that have arrived are handled together, and acknowledged after that.

While handling fails for a reason that lies outside the events (the database is away), the consumer keeps
what it holds and tries again: the prefetch limit then stops the broker, and no message travels in circles.

A message that kills its process comes back, together with all that was prefetched beside it. What came back
more than once is therefore handled alone, from a queue of which one message at a time is taken: there the
broker counts the crashes of that message and nothing else, and moves it to the dead letters in the end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import structlog

from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.delivery import Delivery
from shopkit.messaging.event_log import named
from shopkit.messaging.events import UNDECODABLE, decode_batch, encode_batch
from shopkit.messaging.publisher import NotPublished, Publisher
from shopkit.messaging.subscription import Stopped, Subscription
from shopkit.messaging.topology import Queue
from shopkit.observability import tracing
from shopkit.observability.metrics import BATCH_SIZE, DEAD_LETTERED, HANDLER_FAILURES, RECEIVED
from shopkit.runtime.retry import Backoff, BatchSize, Cause, cause_of, pause

PREFETCH = 200
# How often a message came back, by a crash or a lost connection. The first time says little.
SUSPICIOUS = 2
# An intake takes fewer events than this, so only a timeout divides its batch.
HANDLED_AT_ONCE = 4_000
# The broker's own counts: in a copy they would tell of the original.
COUNTS = frozenset({"x-delivery-count", "x-acquired-count"})

T = TypeVar("T")
log = structlog.get_logger()


class Refused(Exception):
    """Raised by a handler when its events are safe, except for some that it will never accept.

    `reasons` says why, by the position of the event in the batch. These events become dead letters.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(*reasons.values())
        self.reasons = reasons


class Decoded(NamedTuple, Generic[T]):
    encoded: bytes
    event: T


class Consumer(Generic[T]):
    """`decode` turns one encoded event into what `handle` takes; it raises msgspec.DecodeError for one that is not.

    `handle` is given the events of several messages at once. It must be idempotent, and it must raise
    unless everything it was given is safe. It raises Refused for single events while the others are safe.
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
        self._together = Subscription(rabbitmq, f"{name} consumer", queue.name, PREFETCH, self._settle_unsuspicious)
        self._alone = Subscription(rabbitmq, f"{name} consumer of one", queue.alone, 1, self._settle_alone)
        self._queue = queue
        self._decode = decode
        self._handle = handle
        self._publisher = publisher
        self._size = BatchSize(HANDLED_AT_ONCE)
        self._moving_or_handling_alone = asyncio.Lock()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as intakes:
            intakes.create_task(self._together.run())
            intakes.create_task(self._alone.run())

    def stop(self) -> None:
        """Takes nothing new; the batch in hand is finished and acknowledged."""
        self._together.stop()
        self._alone.stop()

    async def check(self) -> None:
        await self._together.check()
        await self._alone.check()

    async def _settle_unsuspicious(self, messages: list[Delivery]) -> None:
        suspicious = [message for message in messages if _returns(message) >= SUSPICIOUS]
        unsuspicious = [message for message in messages if _returns(message) < SUSPICIOUS]
        if suspicious:
            await self._quarantine(suspicious)
        if unsuspicious:
            await self._settle(unsuspicious)

    async def _quarantine(self, messages: list[Delivery]) -> None:
        """Moves messages to the queue `.alone`. Returns when the broker has processed their acknowledgements.

        Until then this process handles nothing from `.alone`. If a moved message killed the process before, both
        its copies would come back, kill again, and become two dead letters.
        """
        async with self._moving_or_handling_alone:
            for message in messages:
                log.warning("came back, to be handled alone", queue=self._queue.name, id=message.message_id)
                await self._move_alone(message, [message.body])
            await messages[-1].acknowledged(self._queue.name)

    async def _settle_alone(self, messages: list[Delivery]) -> None:
        """A message that comes back to its own queue is split, so that no event dies with another."""
        (message,) = messages
        async with self._moving_or_handling_alone:
            if _returns(message) and len(events := _events(message.body)) > 1:
                await self._move_alone(message, [encode_batch([event]) for event in events])
            else:
                await self._settle(messages)

    async def _move_alone(self, message: Delivery, bodies: list[bytes]) -> None:
        headers = {key: value for key, value in message.headers.items() if key not in COUNTS}
        for body in bodies:
            await self._until_published(partial(self._publisher.send, self._queue.alone, body, headers))
        await message.ack()

    async def _settle(self, messages: list[Delivery]) -> None:
        """Acknowledges when each event of `messages` is handled or set aside as a dead letter."""
        events: list[Decoded[T]] = []
        for message in messages:
            events += await self._decoded(message)
        if events:
            BATCH_SIZE.labels(self._queue.name).observe(len(events))
            await self._handle_all(events)
        await messages[-1].ack(multiple=True)
        RECEIVED.labels(self._queue.name).inc(len(events))

    async def _decoded(self, message: Delivery) -> list[Decoded[T]]:
        if message.flaw:
            await self._set_aside(message.body, f"not a message of ours: {message.flaw}")
            return []
        try:
            encoded = decode_batch(message.body)
        except UNDECODABLE as error:
            await self._set_aside(message.body, f"not a batch of events: {error}")
            return []
        events: list[Decoded[T]] = []
        for event in encoded:
            try:
                events.append(Decoded(event, self._decode(event)))
            except UNDECODABLE as error:
                await self._set_aside(encode_batch([event]), f"not an event of this queue: {error}")
        return events

    async def _handle_all(self, events: Sequence[Decoded[T]]) -> None:
        while events:
            limit = self._size.limit
            await self._handle_or_isolate(events[:limit])
            events = events[limit:]

    async def _handle_or_isolate(self, events: Sequence[Decoded[T]]) -> None:
        """Halves a batch that fails for a reason of its own until the culprit stands alone; nothing else waits.

        Halves also a batch that times out. Raises an error that is neither transient nor the fault of an event.
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
                    await self._set_aside(encode_batch([events[index].encoded]), reason)
                return None
            except Exception as error:
                HANDLER_FAILURES.labels(self._queue.name).inc()
                fault = cause_of(error)
                if fault is Cause.DEFECT:
                    raise
                if fault is Cause.CONTENT:
                    reason = repr(error)
                    break
                log.warning("handler must wait", queue=self._queue.name, error=repr(error))
            await self._wait(backoff)
        else:
            return await self._handle_all(events)
        log.error(
            "handler failed", queue=self._queue.name, events=len(events), error=reason, **named(events[0].encoded)
        )
        if len(events) == 1:
            return await self._set_aside(encode_batch([events[0].encoded]), reason)
        middle = len(events) // 2
        await self._handle_or_isolate(events[:middle])
        return await self._handle_or_isolate(events[middle:])

    async def _set_aside(self, body: bytes, reason: str) -> None:
        log.error("dead letter", queue=self._queue.name, reason=reason)
        await self._until_published(partial(self._publisher.dead_letter, self._queue, body, reason))
        DEAD_LETTERED.labels(self._queue.name).inc()

    async def _until_published(self, publish: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff()
        while True:
            try:
                return await publish()
            except NotPublished as error:
                log.warning("publishing must wait", queue=self._queue.name, error=repr(error))
            await self._wait(backoff)

    async def _wait(self, backoff: Backoff) -> None:
        await pause(self._together.stopping, backoff.next())
        if self._together.stopping.is_set():
            raise Stopped


def _returns(message: Delivery) -> int:
    count = message.headers.get("x-delivery-count")
    return count if isinstance(count, int) else 0


def _events(body: bytes) -> list[bytes]:
    with suppress(*UNDECODABLE):
        return decode_batch(body)
    return []
