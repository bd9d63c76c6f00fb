"""The HTTP entry points of payments."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import Response, Router, get, post

from payments import accounts
from payments.accounts import Done, NewTopUp, ToppedUp
from shopkit.batcher import Batcher
from shopkit.body import StrictJson
from shopkit.db import Database
from shopkit.idempotency import REPLAYED, IdempotencyKey, parse_key
from shopkit.problems import documented

PATH = "/api/payments/account"


class Account(msgspec.Struct, frozen=True):
    """`balance` is in kopecks."""

    user_id: str
    balance: int
    created_at: datetime


class TopUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`amount` is in kopecks."""

    amount: Annotated[int, msgspec.Meta(ge=1, le=10**12)]


class Call(msgspec.Struct, frozen=True):
    """Who calls, and what answering takes."""

    user_id: str
    database: Database
    top_ups: Batcher[NewTopUp, Done]


@post(summary="Open your account", responses=documented(HTTPStatus.CONFLICT))
async def open_account(call: Call) -> Response[Account]:
    """At most one per user; it starts empty."""
    created_at = await accounts.open_account(call.database, call.user_id)
    return Response(Account(call.user_id, 0, created_at), headers={"Location": PATH})


@get(summary="Show your balance", responses=documented(HTTPStatus.NOT_FOUND))
async def show_account(call: Call) -> Account:
    balance, created_at = await accounts.show_account(call.database, call.user_id)
    return Account(call.user_id, balance, created_at)


@post(
    "/top-ups",
    dto=StrictJson[TopUp],
    return_dto=None,
    summary="Top up your account",
    responses=documented(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    ),
)
async def top_up(data: TopUp, call: Call, idempotency_key: IdempotencyKey = None) -> Response[ToppedUp]:
    done = await call.top_ups.submit(NewTopUp(call.user_id, data.amount, parse_key(idempotency_key)))
    return Response(done.topped_up, headers=REPLAYED if done.replayed else {})


router = Router(
    PATH, route_handlers=[open_account, show_account, top_up], tags=["Payments"], security=[{"user": []}]
)
