"""Consuming in batches: the broker's callback only queues, a collector takes whatever is there.

A message is acknowledged after its events were handled, never before. While handling fails for a reason
that lies outside the events (the database is away), the collector keeps what it holds and tries again:
the prefetch limit then stops the broker, and no message travels in circles.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import msgspec
import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from shopkit import tracing
from shopkit.broker import Queue, Session
from shopkit.event_log import named
from shopkit.events import decode_batch, encode_batch
from shopkit.publisher import NotPublished, Publisher
from shopkit.retry import Backoff, blames_content, pause
from shopkit.telemetry import BATCH_SIZE, DEAD_LETTERED, HANDLER_FAILURES, RECEIVED

PREFETCH = 200
# Of events handled at once: a message holds up to a hundred, and a batch must end well within its timeouts.
MOST_BYTES = 512 * 1024
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

T = TypeVar("T")
Deliveries: TypeAlias = "asyncio.Queue[AbstractIncomingMessage | None]"
log = structlog.get_logger()


class Decoded(NamedTuple, Generic[T]):
    encoded: bytes
    event: T


class Stopped(Exception):
    """Told to stop while waiting to try again; what is not acknowledged comes again elsewhere."""


class Consumer(Generic[T]):
    """`decode` turns one encoded event into what `handle` takes; it raises msgspec.DecodeError for one that is not.

    `handle` is given the events of several messages at once. It must be idempotent, and it must raise
    unless everything it was given is safe.
    """

    def __init__(
        self,
        url: str,
        name: str,
        queue: Queue,
        decode: Callable[[bytes], T],
        handle: Callable[[Sequence[T]], Awaitable[None]],
        publisher: Publisher,
    ) -> None:
        self._session = Session(url, f"{name} consumer", self._consume)
        self._queue = queue
        self._decode = decode
        self._handle = handle
        self._publisher = publisher
        self._deliveries: Deliveries = asyncio.Queue()

    async def run(self) -> None:
        await self._session.run()

    def stop(self) -> None:
        """Takes nothing new; the batch in hand is finished and acknowledged."""
        self._session.stop()
        self._deliveries.put_nowait(None)

    async def check(self) -> None:
        if not self._session.connected.is_set():
            raise ConnectionError(f"not consuming {self._queue.name}")

    async def _consume(self, channel: AbstractChannel) -> None:
        deliveries = self._deliveries = asyncio.Queue[AbstractIncomingMessage | None]()
        await _end_with(channel, deliveries)
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(self._queue.name, ensure=False)
        await queue.consume(deliveries.put)
        log.info("consuming", queue=self._queue.name)
        try:
            while not self._session.stopping.is_set() and (messages := await _take(deliveries)):
                count = await self._settle(messages)
                await messages[-1].ack(multiple=True)
                RECEIVED.labels(self._queue.name).inc(count)
        except Stopped:
            log.info("stopped while waiting to try again", queue=self._queue.name)

    async def _settle(self, messages: list[AbstractIncomingMessage]) -> int:
        """Returns when each event of `messages` is handled or set aside as a dead letter."""
        events: list[Decoded[T]] = []
        for message in messages:
            events += await self._decoded(message.body)
        if events:
            BATCH_SIZE.labels(self._queue.name).observe(len(events))
            await self._handle_or_isolate(events)
        return len(events)

    async def _decoded(self, body: bytes) -> list[Decoded[T]]:
        try:
            encoded = decode_batch(body)
        except UNDECODABLE as error:
            await self._set_aside(body, f"not a batch of events: {error}")
            return []
        events: list[Decoded[T]] = []
        for event in encoded:
            try:
                events.append(Decoded(event, self._decode(event)))
            except UNDECODABLE as error:
                await self._set_aside(encode_batch([event]), f"not an event of this queue: {error}")
        return events

    async def _handle_or_isolate(self, events: Sequence[Decoded[T]]) -> None:
        """Halves a batch that fails for a reason of its own until the culprit stands alone; nothing else waits."""
        backoff = Backoff()
        while True:
            try:
                with tracing.batch(f"handle {self._queue.name}", (tracing.of_event(e.encoded) for e in events)):
                    return await self._handle([event.event for event in events])
            except Exception as error:  # noqa: BLE001 (whatever it is, the consumer lives on)
                HANDLER_FAILURES.labels(self._queue.name).inc()
                if blames_content(error):
                    reason = repr(error)
                    break
                log.warning("handler must wait", queue=self._queue.name, error=repr(error))
            await self._wait(backoff)
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
        backoff = Backoff()
        while True:
            try:
                await self._publisher.dead_letter(self._queue, body, reason)
            except NotPublished as error:
                log.warning("dead letter must wait", queue=self._queue.name, error=repr(error))
            else:
                return DEAD_LETTERED.labels(self._queue.name).inc()
            await self._wait(backoff)

    async def _wait(self, backoff: Backoff) -> None:
        await pause(self._session.stopping, backoff.next())
        if self._session.stopping.is_set():
            raise Stopped


async def _end_with(channel: AbstractChannel, deliveries: Deliveries) -> None:
    """Lets the end of the channel, or of the consumer (its queue was deleted), end the deliveries."""

    def end(*_: object) -> None:
        deliveries.put_nowait(None)

    channel.close_callbacks.add(end)
    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(end)


async def _take(deliveries: Deliveries) -> list[AbstractIncomingMessage]:
    """Waits for one message and takes what else is there. Nothing means that no more will come."""
    taken: list[AbstractIncomingMessage] = []
    size = 0
    message = await deliveries.get()
    while message is not None:
        taken.append(message)
        size += len(message.body)
        if size > MOST_BYTES or deliveries.empty():
            return taken
        message = deliveries.get_nowait()
    deliveries.put_nowait(None)
    return taken
