"""Publishing with confirms: a call that returns means that the broker has the message on disk."""

from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import HeadersType

from shopkit.broker import DEAD_LETTERS, EXCHANGE, HeldChannel, Lost, Queue
from shopkit.events import BATCH_CONTENT_TYPE, encode_batch

CONFIRM_TIMEOUT = 10
DEFAULT_EXCHANGE = ""


class NotPublished(ConnectionError):
    """The broker did not confirm: it is away, refused, returned the message, or was silent for too long.

    The message may have arrived all the same; whoever publishes it again makes a duplicate, as agreed.
    """


class Publisher(HeldChannel):
    def __init__(self, url: str, name: str) -> None:
        super().__init__(url, f"{name} publisher")

    async def publish(self, routing_key: str, events: list[bytes]) -> None:
        """Publishes one message of several events. Raises NotPublished."""
        await self._publish(EXCHANGE, routing_key, persistent(encode_batch(events)))

    async def dead_letter(self, queue: Queue, body: bytes, reason: str) -> None:
        """Sets a message of `queue` aside, with the reason in the header `x-reason`. Raises NotPublished."""
        message = persistent(body, headers={"x-reason": reason[:1000]}, timestamp=datetime.now(UTC))
        await self._publish(DEAD_LETTERS, queue.name, message)

    async def send(self, queue: str, body: bytes, headers: HeadersType) -> None:
        """Publishes to the queue `queue` and to no other. Raises NotPublished."""
        await self._publish(DEFAULT_EXCHANGE, queue, persistent(body, headers=headers))

    async def _publish(self, exchange: str, routing_key: str, message: aio_pika.Message) -> None:
        try:
            async with self.channel() as channel:
                # Without `ensure` nothing is asked of the broker.
                to = await channel.get_exchange(exchange, ensure=False)
                await to.publish(message, routing_key, mandatory=True, timeout=CONFIRM_TIMEOUT)
        except Lost as error:
            raise NotPublished(str(error)) from error


def persistent(body: bytes, **properties: Any) -> aio_pika.Message:
    # Without a message_id aio-pika makes a unique one, which it needs to match returns to publishes.
    return aio_pika.Message(
        body, content_type=BATCH_CONTENT_TYPE, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties
    )
