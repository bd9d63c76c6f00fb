"""Publishing with publisher confirms.

When `publish` returns, every queue that takes the type of the events has confirmed the message. RabbitMQ confirms a
persistent message in a quorum queue after it is on disk. When `publish` raises, the message may be in none, some or
all of the queues.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import HeadersType

from shopkit.messaging.broker import BrokerUnavailable, PersistentChannel, RabbitMQ
from shopkit.messaging.events import BATCH_CONTENT_TYPE, encode_batch
from shopkit.messaging.topology import Queue

CONFIRM_TIMEOUT = 10


class NotPublished(ConnectionError):
    """A queue has not confirmed a message: it was refused, returned, or timed out, or the broker is unavailable.

    The message can have arrived all the same. Publishing it again can therefore make a duplicate, which consumers
    accept.
    """


class Publisher(PersistentChannel):
    """Publishes to one queue per message, through the default exchange.

    RabbitMQ returns a mandatory message only if it was routed to no queue. A message for two queues is confirmed
    even if one of them is missing. So there is one message per queue (docs/adr/0016-one-message-per-queue.md).
    """

    def __init__(self, rabbitmq: RabbitMQ, name: str) -> None:
        super().__init__(rabbitmq, f"{name} publisher")
        self._topology = rabbitmq.topology

    async def publish(self, routing_key: str, events: list[bytes]) -> None:
        """Publishes one message of several events to each queue that takes their type.

        Returns after every queue has confirmed. Raises NotPublished if one has not. The other queues then get
        duplicates when the caller tries again.
        """
        queues, body = self._topology.queues_of(routing_key), encode_batch(events)
        if not queues:
            raise NotPublished(f"no queue takes {routing_key}")
        await all_confirmed(self._publish(queue, persistent(body)) for queue in queues)

    async def dead_letter(self, queue: Queue, body: bytes, reason: str) -> None:
        """Publishes a dead letter of `queue`, with the reason in the header `x-reason`. Raises NotPublished."""
        message = persistent(body, headers={"x-reason": reason[:1000]}, timestamp=datetime.now(UTC))
        await self._publish(queue.dead, message)

    async def send(self, queue: str, body: bytes, headers: HeadersType) -> None:
        """Publishes a message to the queue `queue` only. Raises NotPublished."""
        await self._publish(queue, persistent(body, headers=headers))

    async def _publish(self, queue: str, message: aio_pika.Message) -> None:
        try:
            async with self.channel() as channel:
                await channel.default_exchange.publish(message, queue, mandatory=True, timeout=CONFIRM_TIMEOUT)
        except BrokerUnavailable as error:
            raise NotPublished(str(error)) from error


async def all_confirmed(publishing: Iterable[Awaitable[None]]) -> None:
    """Waits for the outcome of every message, so that none is in flight afterwards.

    Then raises the first error, if any.
    """
    for outcome in await asyncio.gather(*publishing, return_exceptions=True):
        if outcome is not None:
            raise outcome


def persistent(body: bytes, **properties: Any) -> aio_pika.Message:
    """Returns a persistent message with the content type of a batch of events."""
    # aio-pika gives each message a unique message_id, which it needs to match returned messages to publishes.
    return aio_pika.Message(
        body, content_type=BATCH_CONTENT_TYPE, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties
    )
