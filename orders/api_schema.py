"""The bodies of requests and responses of orders, and their examples in the OpenAPI document."""

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec

from gozon.hops import ACCEPTED, RECEIVED, RELAYED, RESULT_RELAYED, SETTLED, UPDATED
from gozon.money import Kopecks
from shopkit.messaging.journey import Hop
from shopkit.runtime.types import Moment
from shopkit.web.idempotency import REPLAYED_HEADER
from shopkit.web.identity import UserId
from shopkit.web.responses import DocumentedResponse, location

Status: TypeAlias = Literal["NEW", "FINISHED", "CANCELLED"]
Reason: TypeAlias = Literal["insufficient_funds", "no_account"]
# PostgreSQL cannot store NUL. `CreateOrder` checks the pattern in `__post_init__`; `StrictJson` says why.
Description: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=500, extra_json_schema={"pattern": r"^[^\x00]*$"}, examples=["felt boots"]
    ),
]


class CreateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: Kopecks
    description: Description

    def __post_init__(self) -> None:
        if "\0" in self.description:
            raise ValueError("Expected `str` without NUL - at `$.description`")


class Order(msgspec.Struct, frozen=True):
    """An order. `version` is 1 at first and grows by 1 with each change. Only a cancelled order has a `reason`."""

    id: UUID
    user_id: UserId
    amount: Kopecks
    description: Description
    status: Status
    version: Annotated[int, msgspec.Meta(ge=1)]
    created_at: Moment
    updated_at: Moment
    reason: Reason | msgspec.UnsetType = msgspec.UNSET


class OrderWithJourney(Order, frozen=True, kw_only=True):
    """An order with the hops that it has made, oldest first.

    The hops are accepted, relayed, received, settled, result_relayed and updated.
    """

    journey: tuple[Hop, ...]


class OrderPage(msgspec.Struct, frozen=True):
    """A page of orders, newest first. `next_cursor` is null on the last page."""

    items: list[Order]
    next_cursor: UUID | None


ID = UUID("01a206e8-6bc4-7359-a38a-8da7f8c962e1")
_PLACED_AT = datetime(2026, 11, 23, 5, 37, 4, 985085, UTC)
_DECIDED_AT = datetime(2026, 11, 23, 5, 37, 5, 42117, UTC)
_JOURNEY = (
    Hop(ACCEPTED, datetime(2026, 11, 23, 5, 37, 4, 964404, UTC), "orders-2"),
    Hop(RELAYED, datetime(2026, 11, 23, 5, 37, 4, 988270, UTC), "orders-2"),
    Hop(RECEIVED, datetime(2026, 11, 23, 5, 37, 5, 7014, UTC), "payments-1"),
    Hop(SETTLED, datetime(2026, 11, 23, 5, 37, 5, 35388, UTC), "payments-1"),
    Hop(RESULT_RELAYED, datetime(2026, 11, 23, 5, 37, 5, 38097, UTC), "payments-1"),
    Hop(UPDATED, datetime(2026, 11, 23, 5, 37, 5, 41043, UTC), "orders-1"),
)

NEW = Order(ID, "alice", 40_000, "felt boots", "NEW", 1, _PLACED_AT, _PLACED_AT)
FINISHED = Order(ID, "alice", 40_000, "felt boots", "FINISHED", 2, _PLACED_AT, _DECIDED_AT)
CANCELLED = Order(
    *(UUID("01a206e8-70aa-70bc-8ec8-657888b98a9a"), "alice", 500_000, "a samovar", "CANCELLED", 2),
    datetime(2026, 11, 23, 5, 37, 6, 219325, UTC),
    datetime(2026, 11, 23, 5, 37, 6, 264509, UTC),
    "insufficient_funds",
)

PLACED = DocumentedResponse(
    "The order is accepted. Its status is NEW.",
    {"new": NEW},
    headers=location(f"/api/orders/{ID}") | REPLAYED_HEADER,
    links={"order": {"operationId": "showOrder", "parameters": {"order_id": "$response.body#/id"}}},
)
LISTED = DocumentedResponse(
    "A page of orders.",
    {"last-page": OrderPage([CANCELLED, FINISHED], None), "more": OrderPage([CANCELLED], CANCELLED.id)},
)
SHOWN = DocumentedResponse(
    "The order with its journey.",
    {"finished": OrderWithJourney(*msgspec.structs.astuple(FINISHED), journey=_JOURNEY)},
)
