"""Taking messages from a queue: the broker's callback only queues, a collector takes whatever is there."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage

from shopkit.messaging.broker import RabbitMQ, Session
from shopkit.messaging.delivery import Delivery
from shopkit.runtime.retry import Progress

# Of events handled at once: a message holds up to a hundred, and a batch must end well within its timeouts.
BATCH_BYTES = 512 * 1024

Deliveries: TypeAlias = "asyncio.Queue[Delivery | None]"
Settle: TypeAlias = Callable[[list[Delivery]], Awaitable[None]]
log = structlog.get_logger()


class Stopped(Exception):
    """Told to stop while waiting to try again; what is not acknowledged comes again elsewhere."""


class Subscription:
    """One session that takes from the queue `queue`. `settle` acknowledges what it is given, or raises Stopped."""

    def __init__(self, rabbitmq: RabbitMQ, name: str, queue: str, prefetch: int, settle: Settle) -> None:
        self._session = Session(rabbitmq, name, self._consume)
        self._queue = queue
        self._prefetch = prefetch
        self._settle = settle
        self._progress = Progress()
        self._deliveries: Deliveries = asyncio.Queue()

    async def run(self) -> None:
        await self._session.run()

    def stop(self) -> None:
        """Takes nothing new; the batch in hand is settled."""
        self._session.stop()
        self._deliveries.put_nowait(None)

    @property
    def stopping(self) -> asyncio.Event:
        return self._session.stopping

    async def check(self) -> None:
        """Raises ConnectionError without a session, and Stalled when the batch in hand takes too long."""
        if not self._session.connected.is_set():
            raise ConnectionError(f"not consuming {self._queue}")
        self._progress.check()

    async def _consume(self, channel: AbstractChannel) -> None:
        deliveries = self._deliveries = asyncio.Queue[Delivery | None]()
        await _end_with(channel, deliveries)
        await channel.set_qos(prefetch_count=self._prefetch)

        async def receive(delivered: DeliveredMessage) -> None:
            deliveries.put_nowait(Delivery(delivered))

        underlay = await channel.get_underlay_channel()
        await underlay.basic_consume(self._queue, receive)
        log.info("consuming", queue=self._queue)
        try:
            while not self.stopping.is_set() and (messages := await _take(deliveries)):
                self._progress.begin()
                await self._settle(messages)
                self._progress.done()
        except Stopped:
            log.info("stopped while waiting to try again", queue=self._queue)
        finally:
            self._progress.done()


async def _end_with(channel: AbstractChannel, deliveries: Deliveries) -> None:
    """Lets the end of the channel, or of the consumer (its queue was deleted), end the deliveries."""

    def end(*_: object) -> None:
        deliveries.put_nowait(None)

    channel.close_callbacks.add(end)
    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(end)


async def _take(deliveries: Deliveries) -> list[Delivery]:
    """Waits for one message and takes what else is there. Nothing means that no more will come."""
    taken: list[Delivery] = []
    size = 0
    message = await deliveries.get()
    while message is not None:
        taken.append(message)
        size += len(message.body)
        if size > BATCH_BYTES or deliveries.empty():
            return taken
        message = deliveries.get_nowait()
    deliveries.put_nowait(None)
    return taken
