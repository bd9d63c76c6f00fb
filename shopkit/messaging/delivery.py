"""A delivered message, also if a foreign publisher has set properties that cannot be decoded.

aio-pika and pamqp raise for properties that AMQP does not allow. aio-pika drops such a message, and the next
cumulative acknowledgement removes it from the queue, so it is lost. With pamqp, the connection ends. Therefore this
module patches the decoder of pamqp: a message with such properties is delivered, and its `flaw` names the problem.
"""

from typing import cast

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

# Not given, transient, persistent. RabbitMQ 3.10 refuses other modes from AMQP publishers.
DELIVERY_MODES = frozenset({None, 1, 2})


class Delivery:
    """One delivered message.

    If its properties are invalid, `flaw` names the problem; it must become a dead letter.
    """

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
        """Acknowledges this message and, with `multiple`, all earlier messages of its channel."""
        await self._delivered.channel.basic_ack(cast("int", self._delivered.delivery_tag), multiple=multiple)

    async def wait_acknowledged(self, queue: str) -> None:
        """Returns when the broker has processed all acknowledgements that were sent on this channel.

        AMQP does not confirm acknowledgements. But the broker processes the frames of a channel in order. So it
        responds to a passive declaration of `queue` only after it has processed them.
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
    except Exception as error:  # noqa: BLE001 (the input is untrusted, and pamqp raises many kinds of errors)
        self.properties = Basic.Properties()
        setattr(self, "flaw", repr(error))  # noqa: B010 (pamqp's class does not declare it)


# aiormq closes the connection when this method raises. No later place sees the properties of such a message.
ContentHeader.unmarshal = _unmarshal_or_note_flaw
