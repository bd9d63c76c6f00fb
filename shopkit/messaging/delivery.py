"""A message as the broker delivers it, also when a foreign publisher has set unreadable properties.

aio-pika and pamqp raise for properties that AMQP does not allow. aio-pika drops such a message, and the next
cumulative acknowledgement covers it. pamqp ends the connection. Here, `flaw` names the problem instead.
"""

from typing import cast

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

# Not given, not persistent, persistent. RabbitMQ 3.10 refuses other modes from AMQP publishers.
DELIVERY_MODES = frozenset({None, 1, 2})


class Delivery:
    """`flaw` names a problem of the properties. A message with a flaw must become a dead letter."""

    __slots__ = ("_delivered", "body", "flaw", "headers", "message_id", "timestamp")

    def __init__(self, delivered: DeliveredMessage) -> None:
        properties = delivered.header.properties
        self._delivered = delivered
        self.body = delivered.body
        self.flaw = _flaw(delivered.header)
        self.headers: FieldTable = properties.headers or {}
        self.message_id = properties.message_id
        self.timestamp = properties.timestamp

    async def ack(self, *, multiple: bool = False) -> None:
        """Acknowledges this message; with `multiple`, every earlier one of its channel as well."""
        await self._delivered.channel.basic_ack(cast("int", self._delivered.delivery_tag), multiple=multiple)

    async def acknowledged(self, queue: str) -> None:
        """Returns when the broker has processed all acknowledgements that were sent on this channel.

        AMQP does not confirm them. The broker processes what a channel sends in order, so the answer to a question
        about `queue` comes after them.
        """
        await self._delivered.channel.queue_declare(queue, passive=True)


def _flaw(header: ContentHeader) -> str | None:
    mode = header.properties.delivery_mode
    if mode not in DELIVERY_MODES:
        return f"delivery mode {mode}"
    return getattr(header, "flaw", None)


_unmarshal = ContentHeader.unmarshal


def _unmarshal_or_note_flaw(self: ContentHeader, data: bytes) -> None:
    try:
        _unmarshal(self, data)
    except Exception as error:  # noqa: BLE001 (the bytes are a stranger's, and pamqp raises many kinds of errors)
        self.properties = Basic.Properties()
        setattr(self, "flaw", repr(error))  # noqa: B010 (pamqp's class does not declare it)


# The only place where the properties of a message pass before aiormq gives the connection up.
ContentHeader.unmarshal = _unmarshal_or_note_flaw
