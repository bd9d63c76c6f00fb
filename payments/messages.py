"""The events that payments writes and reads. Amounts are in kopecks."""

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from shopkit.messaging.events import Event, Outgoing, outgoing
from shopkit.messaging.inbox_store import ReceivedEvent
from shopkit.messaging.journey import Hop

SOURCE = "payments"


class CreatedOrder(msgspec.Struct, frozen=True):
    order_id: UUID
    user_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
    amount: Annotated[int, msgspec.Meta(ge=1, le=10**12)]


class OrderCreatedEvent(Event[CreatedOrder], frozen=True, kw_only=True):
    type: Literal["order.created"]


class PaymentResult(msgspec.Struct, frozen=True, omit_defaults=True):
    order_id: UUID
    user_id: str
    amount: int
    reason: str | None = None


_order_created = msgspec.json.Decoder(OrderCreatedEvent)


def decode_order_created(encoded: bytes) -> OrderCreatedEvent:
    return _order_created.decode(encoded)


def receive(encoded: bytes) -> ReceivedEvent:
    """Returns the event for the inbox. Raises if charging could not decode it, so that it never gets there."""
    event = decode_order_created(encoded)
    return ReceivedEvent(event.id, event.type, encoded)


def payment_decided(
    order_id: UUID,
    user_id: str,
    amount: int,
    reason: str | None,
    traceparent: str | None = None,
    journey: Sequence[Hop] = (),
) -> Outgoing:
    """Returns payment.succeeded if `reason` is None, otherwise payment.failed."""
    event_type = "payment.succeeded" if reason is None else "payment.failed"
    result = PaymentResult(order_id, user_id, amount, reason)
    return outgoing(SOURCE, event_type, order_id, result, traceparent, journey)
