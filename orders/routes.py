"""The HTTP entry points of orders."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from orders import queries
from orders.place_order import NewOrder, Placed
from shopkit import tracing
from shopkit.batcher import Batcher
from shopkit.body import StrictJson
from shopkit.db import Database
from shopkit.idempotency import REPLAYED, IdempotencyKey, parse_key
from shopkit.journey import Hop
from shopkit.problems import Problem, documented

PATH = "/api/orders"

Status = Literal["NEW", "FINISHED", "CANCELLED"]


class CreateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`amount` is in kopecks."""

    amount: Annotated[int, msgspec.Meta(ge=1, le=10**12)]
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """`amount` is in kopecks; `version` grows with each change; `reason` says why an order was cancelled."""

    id: UUID
    user_id: str
    amount: int
    description: str
    status: Status
    version: int
    created_at: datetime
    updated_at: datetime
    reason: str | None = None


class OrderWithJourney(Order, frozen=True, omit_defaults=True):
    """`journey` lists the hops the order has made, each by the clock of the replica that made it."""

    journey: tuple[Hop, ...] = ()


class OrderPage(msgspec.Struct, frozen=True):
    """Newest first. `next_cursor` is null on the last page."""

    items: list[Order]
    next_cursor: UUID | None


class Call(msgspec.Struct, frozen=True):
    """Who calls, and what answering takes."""

    user_id: str
    database: Database
    place: Batcher[NewOrder, Placed]


@post(
    dto=StrictJson[CreateOrder],
    return_dto=None,
    summary="Place an order",
    responses=documented(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    ),
)
async def create_order(
    data: JSONBody[CreateOrder], call: NamedDependency[Call], idempotency_key: IdempotencyKey = None
) -> Response[Order]:
    """Accepts an order with status NEW; its payment starts by itself."""
    new = NewOrder(call.user_id, data.amount, data.description, parse_key(idempotency_key), tracing.current())
    placed = await call.place.submit(new)
    order = Order(
        placed.id, new.user_id, new.amount, new.description, "NEW", 1, placed.created_at, placed.created_at
    )
    headers = {"Location": f"{PATH}/{placed.id}"}
    return Response(order, headers=headers | REPLAYED if placed.replayed else headers)


@get(summary="List your orders", responses=documented())
async def list_orders(
    call: NamedDependency[Call],
    status: FromQuery[Status | None] = None,
    cursor: FromQuery[UUID | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> OrderPage:
    """Newest first. Pass `next_cursor` as `cursor` for the page after this one."""
    rows = await queries.newest(call.database, call.user_id, status, cursor, limit + 1)
    items = [Order(*row) for row in rows[:limit]]
    return OrderPage(items, items[-1].id if len(rows) > limit else None)


@get(
    "/{order_id:str}",
    summary="Show one of your orders",
    responses=documented(HTTPStatus.NOT_FOUND),
)
async def show_order(order_id: FromPath[UUID], call: NamedDependency[Call]) -> OrderWithJourney:
    row = await queries.one(call.database, call.user_id, order_id)
    if row is None:
        raise Problem(HTTPStatus.NOT_FOUND, "order-not-found", "You have no order with this id.")
    return OrderWithJourney(*row[:-1], journey=msgspec.convert(row.journey, tuple[Hop, ...]))


router = Router(
    PATH,
    route_handlers=[create_order, list_orders, show_order],
    tags=["Orders"],
    security=[{"user": []}],
)
