"""The events that the notifier reads and the frames that it sends. Amounts are in kopecks."""

import re
from typing import Literal
from uuid import UUID

import msgspec

from shopkit import tracing
from shopkit.events import Event
from shopkit.journey import Hop


class OrderStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    order_id: UUID
    user_id: str
    amount: int
    description: str
    status: str
    version: int
    reason: str | None = None


class OrderStatusEvent(Event[OrderStatus], frozen=True, kw_only=True):
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


_order_status = msgspec.json.Decoder(OrderStatusEvent)
_encoder = msgspec.json.Encoder()

FRAME_START = b'{"type":"order","o":'
_ORDER_ID = re.compile(rb'"order":\{"id":"([0-9a-f]{8})-([0-9a-f]{4})-7')


def decode_order_status(encoded: bytes) -> OrderStatusEvent:
    return _order_status.decode(encoded)


def frame_rest(event: OrderStatusEvent) -> bytes:
    """An `order` frame without its start: Redis puts FRAME_START and the offset in front."""
    data = event.data
    view = OrderView(data.order_id, data.status, data.amount, data.description, data.version, data.reason)
    traceparent = tracing.child("notify", event.traceparent)
    return _encoder.encode(OrderFrame(event.id, view, event.journey, traceparent))[1:]


def frame_offset(frame: bytes) -> int:
    """Read from its fixed place, so that a frame is passed on without being parsed."""
    start = len(FRAME_START)
    return int(frame[start : frame.index(b",", start)])


def accepted_at(frame: bytes) -> float | None:
    """Seconds since 1970 when the order was accepted: its id is a UUIDv7, which begins with the milliseconds."""
    found = _ORDER_ID.search(frame)
    return int(found[1] + found[2], 16) / 1000 if found else None


def welcome(epoch: str, offset: int, recovered: bool, missed: list[bytes], replica: str) -> bytes:
    raw = [msgspec.Raw(frame) for frame in missed]
    return _encoder.encode(Welcome(epoch, offset, recovered, raw, replica))
