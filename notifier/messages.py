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
    """The fields of an `order` frame that follow the type and the offset."""

    id: UUID
    order: OrderView
    journey: tuple[Hop, ...] = ()
    traceparent: str | None = None


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The first frame of every socket, sent again after Redis has lost its data.

    `missed` holds the complete `order` frames since the client's position. If `recovered` is false, some frames
    are lost, and the client must reload its orders over REST.
    """

    epoch: str
    offset: int
    recovered: bool
    missed: list[msgspec.Raw]
    replica: str


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Asks for a sign of life. Any frame of the client answers it."""


class Renew(msgspec.Struct, frozen=True, tag="renew"):
    """Asks the client for a RenewTicket within that many seconds."""

    within: int


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    pass


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """Reports that the client has shown everything up to offset `o`."""

    o: int


class _RawAck(msgspec.Struct, frozen=True, tag="ack"):
    """An Ack whose offset is still text, so that its length can be checked before it is parsed.

    msgspec takes 200 µs for an integer of 4,000 digits, and 0.5 µs for a whole valid frame.
    """

    o: msgspec.Raw


class RenewTicket(msgspec.Struct, frozen=True, tag="renew"):
    ticket: Annotated[str, msgspec.Meta(max_length=100)]


_order_status = msgspec.json.Decoder(OrderStatusEvent)
_client_frame = msgspec.json.Decoder(Pong | _RawAck | RenewTicket)
_encoder = msgspec.json.Encoder()

FRAME_START = b'{"type":"order","o":'
OFFSET_LIMIT, OFFSET_DIGITS_LIMIT = 2**53, 16


def decode_order_status(encoded: bytes) -> OrderStatusEvent:
    return _order_status.decode(encoded)


def decode_client_frame(text: str) -> Pong | Ack | RenewTicket:
    """Returns the frame that a client sent. Raises msgspec.DecodeError, and no other error, for any other text."""
    try:
        frame = _client_frame.decode(text)
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deep") from error
    return Ack(_parse_offset(bytes(frame.o))) if isinstance(frame, _RawAck) else frame


def _parse_offset(digits: bytes) -> int:
    if len(digits) > OFFSET_DIGITS_LIMIT or not digits.isdigit() or int(digits) >= OFFSET_LIMIT:
        raise msgspec.ValidationError("not an offset")
    return int(digits)


def frame_rest(event: OrderStatusEvent) -> bytes:
    """Returns an `order` frame without its start. `fan_out.lua` puts FRAME_START and the offset in front."""
    data = event.data
    view = OrderView(data.order_id, data.status, data.amount, data.description, data.version, data.reason)
    traceparent = tracing.child("notify", event.traceparent)
    return _encoder.encode(OrderFrame(event.id, view, event.journey, traceparent))[1:]


def times(event: OrderStatusEvent) -> bytes:
    """Returns two times in milliseconds since 1970: when the order was accepted, and when its status changed.

    The first comes from the order's id, a UUIDv7; it is 0 for any other kind of id. Both are published beside the
    frame, for the latency metrics.
    """
    order_id = event.data.order_id
    accepted = order_id.int >> 80 if order_id.version == 7 else 0
    return b"%d %d" % (accepted, event.time.timestamp() * 1000)


def welcome(epoch: str, offset: int, recovered: bool, missed: list[bytes], replica: str) -> bytes:
    raw = [msgspec.Raw(frame) for frame in missed]
    return _encoder.encode(Welcome(epoch, offset, recovered, raw, replica))


def encode(frame: Ping | Renew) -> bytes:
    return _encoder.encode(frame)
