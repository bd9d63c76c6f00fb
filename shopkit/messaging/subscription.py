"""A subscription to a queue: collects the messages that have arrived, and hands them over as one batch.

The callback of the client library only puts a message into a local queue. While one batch is processed, further
messages gather there, up to the prefetch limit.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage

from shopkit.messaging.broker import RabbitMQ, Session
from shopkit.messaging.delivery import Delivery
from shopkit.runtime.retry import Progress

# A batch ends with the message that exceeds this size. A message holds up to 100 events, and a batch must be
# handled well within its timeouts.
BATCH_BYTES = 512 * 1024

Deliveries: TypeAlias = "asyncio.Queue[Delivery | None]"
OnMessages: TypeAlias = Callable[[list[Delivery]], Awaitable[None]]
log = structlog.get_logger()


class Stopped(Exception):
    """The consumer was stopped between two attempts.

    Its unacknowledged messages are delivered again, to any replica.
    """


class Subscription:
    """One session that consumes the queue `queue`.

    `on_messages` receives one batch at a time. It returns after it has acknowledged all messages of the batch, or
    raises Stopped. `prefetch` limits the unacknowledged messages.
    """

    def __init__(self, rabbitmq: RabbitMQ, name: str, queue: str, prefetch: int, on_messages: OnMessages) -> None:
        self._session = Session(rabbitmq, name, self._consume)
        self._queue = queue
        self._prefetch = prefetch
        self._on_messages = on_messages
        self._progress = Progress()
        self._deliveries: Deliveries = asyncio.Queue()

    async def run(self) -> None:
        await self._session.run()

    def stop(self) -> None:
        """Takes no more messages. `run` returns after the current batch."""
        self._session.stop()
        self._deliveries.put_nowait(None)

    @property
    def stopping(self) -> asyncio.Event:
        return self._session.stopping

    async def check(self) -> None:
        """Raises ConnectionError if there is no session, and Stalled if the current batch takes too long."""
        if not self._session.connected.is_set():
            raise ConnectionError(f"not consuming {self._queue}")
        self._progress.check()

    async def _consume(self, channel: AbstractChannel) -> None:
        deliveries = self._deliveries = asyncio.Queue[Delivery | None]()
        await _end_deliveries_on_close(channel, deliveries)
        await channel.set_qos(prefetch_count=self._prefetch)

        async def receive(delivered: DeliveredMessage) -> None:
            deliveries.put_nowait(Delivery(delivered))

        underlay = await channel.get_underlay_channel()
        await underlay.basic_consume(self._queue, receive)
        log.info("consuming", queue=self._queue)
        try:
            while not self.stopping.is_set() and (messages := await _next_batch(deliveries)):
                self._progress.begin()
                await self._on_messages(messages)
                self._progress.done()
        except Stopped:
            log.info("stopped between two attempts", queue=self._queue)
        finally:
            self._progress.done()


async def _end_deliveries_on_close(channel: AbstractChannel, deliveries: Deliveries) -> None:
    """Ends the deliveries when the channel closes, or when RabbitMQ cancels the consumer of a deleted queue."""

    def end(*_: object) -> None:
        deliveries.put_nowait(None)

    channel.close_callbacks.add(end)
    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(end)


async def _next_batch(deliveries: Deliveries) -> list[Delivery]:
    """Waits for a message and adds the messages that have arrived since, up to BATCH_BYTES.

    Returns an empty list at the end.
    """
    batch: list[Delivery] = []
    size = 0
    message = await deliveries.get()
    while message is not None:
        batch.append(message)
        size += len(message.body)
        if size > BATCH_BYTES or deliveries.empty():
            return batch
        message = deliveries.get_nowait()
    deliveries.put_nowait(None)  # the next call must find the end too
    return batch
