"""Publishing with confirms: a call that returns means that every queue of the event's type has it on disk."""

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
    """A queue did not confirm: the broker is unavailable, refused or returned the message, or was silent too long.

    The message may have arrived all the same; whoever publishes it again makes a duplicate, as agreed.
    """


class Publisher(PersistentChannel):
    """Publishes through the default exchange only.

    There, a message has one queue to go to. RabbitMQ confirms a message when one of the queues it is routed to
    has it, and returns it when there is none. So only a message with one queue tells about a missing queue.
    """

    def __init__(self, rabbitmq: RabbitMQ, name: str) -> None:
        super().__init__(rabbitmq, f"{name} publisher")
        self._topology = rabbitmq.topology

    async def publish(self, routing_key: str, events: list[bytes]) -> None:
        """Publishes one message of several events to each queue that takes their type.

        Returns when every queue has confirmed. Raises NotPublished, also when only one of them has not: a second
        try then makes duplicates in the others.
        """
        queues, body = self._topology.queues_of(routing_key), encode_batch(events)
        if not queues:
            raise NotPublished(f"no queue takes {routing_key}")
        await all_confirmed(self._publish(queue, persistent(body)) for queue in queues)

    async def dead_letter(self, queue: Queue, body: bytes, reason: str) -> None:
        """Sets a message of `queue` aside, with the reason in the header `x-reason`. Raises NotPublished."""
        message = persistent(body, headers={"x-reason": reason[:1000]}, timestamp=datetime.now(UTC))
        await self._publish(queue.dead, message)

    async def send(self, queue: str, body: bytes, headers: HeadersType) -> None:
        """Publishes to the queue `queue` and to no other. Raises NotPublished."""
        await self._publish(queue, persistent(body, headers=headers))

    async def _publish(self, queue: str, message: aio_pika.Message) -> None:
        try:
            async with self.channel() as channel:
                await channel.default_exchange.publish(message, queue, mandatory=True, timeout=CONFIRM_TIMEOUT)
        except BrokerUnavailable as error:
            raise NotPublished(str(error)) from error


async def all_confirmed(publishing: Iterable[Awaitable[None]]) -> None:
    """Waits for all, so that none is still on its way afterwards. Then raises the first error, if there is one."""
    for outcome in await asyncio.gather(*publishing, return_exceptions=True):
        if outcome is not None:
            raise outcome


def persistent(body: bytes, **properties: Any) -> aio_pika.Message:
    # Without a message_id aio-pika makes a unique one, which it needs to match returns to publishes.
    return aio_pika.Message(
        body, content_type=BATCH_CONTENT_TYPE, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties
    )
