"""The HTTP entry points of payments."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import Response, Router, get, post

from payments import accounts
from payments.accounts import NewTopUp, ToppedUp
from shopkit.batcher import Batcher
from shopkit.body import StrictJson
from shopkit.db import Database
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


@post(summary="Open your account", responses=documented(HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE))
async def open_account(user_id: str, database: Database) -> Response[Account]:
    """At most one per user; it starts empty."""
    created_at = await accounts.open_account(database, user_id)
    return Response(Account(user_id, 0, created_at), headers={"Location": PATH})


@get(summary="Show your balance", responses=documented(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE))
async def show_account(user_id: str, database: Database) -> Account:
    balance, created_at = await accounts.show_account(database, user_id)
    return Account(user_id, balance, created_at)


@post(
    "/top-ups",
    dto=StrictJson[TopUp],
    return_dto=None,
    summary="Top up your account",
    responses=documented(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
async def top_up(data: TopUp, user_id: str, top_ups: Batcher[NewTopUp, ToppedUp]) -> ToppedUp:
    return await top_ups.submit(NewTopUp(user_id, data.amount))


router = Router(
    PATH, route_handlers=[open_account, show_account, top_up], tags=["Payments"], security=[{"user": []}]
)
