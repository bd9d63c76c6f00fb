"""The HTTP interface of orders. `create_order` is where an order enters the system (hop 1)."""

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import JSONBody, PathParameter, QueryParameter

from orders import api_schema, queries
from orders.api_schema import CreateOrder, Order, OrderPage, OrderWithJourney, Status
from orders.place_order import NewOrder, Placed
from shopkit.db.database import Database, Row
from shopkit.messaging import journey
from shopkit.observability import tracing
from shopkit.runtime.batcher import Batcher
from shopkit.web.idempotency import REPLAYED, IdempotencyKey, key_reused, parse_key
from shopkit.web.identity import user_router
from shopkit.web.json_body import StrictJson, not_json, too_large
from shopkit.web.problems import FieldError, Problem, invalid, too_slow
from shopkit.web.query_params import once_and_not_null
from shopkit.web.responses import error_responses

PATH = "/api/orders"


class OrdersContext(msgspec.Struct, frozen=True):
    """The user of a request, and the parts of the service that its handler needs."""

    user_id: str
    database: Database
    place: Batcher[NewOrder, Placed]


def order_not_found() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "order-not-found", "You have no order with this id.")


@post(
    dto=StrictJson[CreateOrder],
    return_dto=None,
    summary="Place an order",
    responses={201: api_schema.PLACED}
    | error_responses(
        invalid([FieldError("amount", "Expected `int` >= 1")]), too_large(), too_slow(), not_json(), key_reused()
    ),
)
async def create_order(
    data: JSONBody[CreateOrder], call: NamedDependency[OrdersContext], idempotency_key: IdempotencyKey = None
) -> Response[Order]:
    """Accepts an order with status NEW. Its payment starts automatically."""
    new = NewOrder(call.user_id, data.amount, data.description, parse_key(idempotency_key), tracing.current())
    placed = await call.place.submit(new)
    order = Order(
        placed.id, new.user_id, new.amount, new.description, "NEW", 1, placed.created_at, placed.created_at
    )
    headers = {"Location": f"{PATH}/{placed.id}"}
    return Response(order, headers=headers | REPLAYED if placed.replayed else headers)


@get(
    before_request=once_and_not_null,
    summary="List your orders",
    responses={200: api_schema.LISTED} | error_responses(invalid([FieldError("limit", "Expected `int` <= 100")])),
)
async def list_orders(
    call: NamedDependency[OrdersContext],
    status: Annotated[Status | None, QueryParameter(description="Only orders with this status.")] = None,
    cursor: Annotated[UUID | None, QueryParameter(description="`next_cursor` of the previous page.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100, description="The maximum number of orders.")] = 20,
) -> OrderPage:
    """Returns your orders, newest first. Pass `next_cursor` as `cursor` for the next page."""
    rows = await queries.newest(call.database, call.user_id, status, cursor, limit + 1)
    items = [Order(*_order_fields(row)) for row in rows[:limit]]
    return OrderPage(items, items[-1].id if len(rows) > limit else None)


@get(
    "/{order_id:str}",
    summary="Show one of your orders",
    responses={200: api_schema.SHOWN}
    | error_responses(invalid([FieldError("order_id", "Invalid UUID")]), order_not_found()),
)
async def show_order(
    order_id: Annotated[
        UUID, PathParameter(description="The `id` of the order.", examples=[Example(value=str(api_schema.ID))])
    ],
    call: NamedDependency[OrdersContext],
) -> OrderWithJourney:
    """Returns the order with its journey: each step with its replica and time."""
    row = await queries.one(call.database, call.user_id, order_id)
    if row is None:
        raise order_not_found()
    return OrderWithJourney(*_order_fields(row), journey=journey.decode(row.journey))


def _order_fields(row: Row) -> tuple[Any, ...]:
    """Returns the fields of `Order` in their order. If `reason` is NULL in the database, the field is unset."""
    return (*row[:8], row.reason or msgspec.UNSET)


router = user_router(PATH, [create_order, list_orders, show_order], "Orders")
