"""The events that orders writes and reads. Amounts are in kopecks."""

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from shopkit.messaging.events import Event, Outgoing, outgoing
from shopkit.messaging.journey import Hop

SOURCE = "orders"


class OrderCreated(msgspec.Struct, frozen=True):
    order_id: UUID
    user_id: str
    amount: int


class OrderStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    order_id: UUID
    user_id: str
    amount: int
    description: str
    status: str
    version: int
    reason: str | None = None


class DecidedPayment(msgspec.Struct, frozen=True):
    order_id: UUID
    user_id: str
    amount: Annotated[int, msgspec.Meta(ge=1, le=10**12)]
    reason: str | None = None


class PaymentEvent(Event[DecidedPayment], frozen=True, kw_only=True):
    type: Literal["payment.succeeded", "payment.failed"]

    @property
    def status(self) -> Literal["FINISHED", "CANCELLED"]:
        """The final status of the order after this payment result."""
        return "FINISHED" if self.type == "payment.succeeded" else "CANCELLED"


_payment_event = msgspec.json.Decoder(PaymentEvent)


def decode_payment_event(encoded: bytes) -> PaymentEvent:
    return _payment_event.decode(encoded)


def order_created(
    order_id: UUID, user_id: str, amount: int, traceparent: str | None = None, journey: Sequence[Hop] = ()
) -> Outgoing:
    return outgoing(
        SOURCE, "order.created", order_id, OrderCreated(order_id, user_id, amount), traceparent, journey
    )


def status_changed(order: OrderStatus, traceparent: str | None = None, journey: Sequence[Hop] = ()) -> Outgoing:
    event_type = "order.finished" if order.status == "FINISHED" else "order.cancelled"
    return outgoing(SOURCE, event_type, order.order_id, order, traceparent, journey)
