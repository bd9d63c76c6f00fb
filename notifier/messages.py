"""The events that the notifier reads and the frames that it sends. Amounts are in kopecks."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from shopkit.messaging.events import Event
from shopkit.messaging.journey import Hop
from shopkit.observability import tracing


class DecidedOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    order_id: UUID
    user_id: str
    amount: int
    description: str
    status: str
    version: int
    reason: str | None = None


class OrderStatusEvent(Event[DecidedOrder], frozen=True, kw_only=True):
    type: Literal["order.finished", "order.cancelled"]


class OrderView(msgspec.Struct, frozen=True, omit_defaults=True):
    id: UUID
    status: str
    amount: int
    description: str
    version: int
    reason: str | None = None


class OrderFrame(msgspec.Struct, frozen=True, omit_defaults=True):
    """What follows the offset in an `order` frame."""

    id: UUID
    order: OrderView
    journey: tuple[Hop, ...] = ()
    traceparent: str | None = None


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """Always the first frame. `missed` holds whole `order` frames; without `recovered`, reload over REST."""

    epoch: str
    offset: int
    recovered: bool
    missed: list[msgspec.Raw]
    replica: str


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Any frame answers it."""


class Renew(msgspec.Struct, frozen=True, tag="renew"):
    """Seconds in which a RenewTicket has to come."""

    within: int


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    pass


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """Everything up to this offset was shown."""

    o: int


class _AckAsWritten(msgspec.Struct, frozen=True, tag="ack"):
    """Keeps the offset as text. msgspec reads an integer of 4,000 digits in 200 µs, a good frame in 0.5 µs."""

    o: msgspec.Raw


class RenewTicket(msgspec.Struct, frozen=True, tag="renew"):
    ticket: Annotated[str, msgspec.Meta(max_length=100)]


_order_status = msgspec.json.Decoder(OrderStatusEvent)
_said = msgspec.json.Decoder(Pong | _AckAsWritten | RenewTicket)
_encoder = msgspec.json.Encoder()

FRAME_START = b'{"type":"order","o":'
OFFSET_LIMIT, OFFSET_DIGITS_LIMIT = 2**53, 16


def decode_order_status(encoded: bytes) -> OrderStatusEvent:
    return _order_status.decode(encoded)


def decode_said(text: str) -> Pong | Ack | RenewTicket:
    """Returns what a client said. Raises msgspec.DecodeError, and nothing else, for any other text."""
    try:
        said = _said.decode(text)
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deep") from error
    return Ack(_offset(bytes(said.o))) if isinstance(said, _AckAsWritten) else said


def _offset(digits: bytes) -> int:
    if len(digits) > OFFSET_DIGITS_LIMIT or not digits.isdigit() or int(digits) >= OFFSET_LIMIT:
        raise msgspec.ValidationError("not an offset")
    return int(digits)


def frame_rest(event: OrderStatusEvent) -> bytes:
    """An `order` frame without its start: Redis puts FRAME_START and the offset in front."""
    data = event.data
    view = OrderView(data.order_id, data.status, data.amount, data.description, data.version, data.reason)
    traceparent = tracing.child("notify", event.traceparent)
    return _encoder.encode(OrderFrame(event.id, view, event.journey, traceparent))[1:]


def times(event: OrderStatusEvent) -> bytes:
    """Milliseconds since 1970 when the order was accepted and when its status changed, published beside a frame.

    The order's id is a UUIDv7, which begins with the first; with any other id it is 0.
    """
    order_id = event.data.order_id
    accepted = order_id.int >> 80 if order_id.version == 7 else 0
    return b"%d %d" % (accepted, event.time.timestamp() * 1000)


def welcome(epoch: str, offset: int, recovered: bool, missed: list[bytes], replica: str) -> bytes:
    raw = [msgspec.Raw(frame) for frame in missed]
    return _encoder.encode(Welcome(epoch, offset, recovered, raw, replica))


def encode(frame: Ping | Renew) -> bytes:
    return _encoder.encode(frame)
