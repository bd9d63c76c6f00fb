"""The HTTP entry points of payments."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from payments import accounts
from payments.accounts import Done, NewTopUp, ToppedUp
from shopkit.batcher import Batcher
from shopkit.body import StrictJson
from shopkit.db import Database
from shopkit.idempotency import REPLAYED, IdempotencyKey, parse_key
from shopkit.problems import documented

PATH = "/api/payments/account"
LAST_VERSION = 2**63 - 1


class Account(msgspec.Struct, frozen=True):
    """`balance` is in kopecks."""

    user_id: str
    balance: int
    created_at: datetime


class TopUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`amount` is in kopecks."""

    amount: Annotated[int, msgspec.Meta(ge=1, le=10**12)]


class LedgerEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """`amount` is signed, a debit below zero; `version` counts the entries of the account without gaps."""

    id: UUID
    kind: Literal["top_up", "debit"]
    amount: int
    version: int
    balance_after: int
    created_at: datetime
    order_id: UUID | None = None


class EntryPage(msgspec.Struct, frozen=True):
    """Newest first. `next_cursor` is null on the last page."""

    items: list[LedgerEntry]
    next_cursor: int | None


class Call(msgspec.Struct, frozen=True):
    """Who calls, and what answering takes."""

    user_id: str
    database: Database
    top_ups: Batcher[NewTopUp, Done]


@post(summary="Open your account", responses=documented(HTTPStatus.CONFLICT))
async def open_account(call: NamedDependency[Call]) -> Response[Account]:
    """At most one per user; it starts empty."""
    created_at = await accounts.open_account(call.database, call.user_id)
    return Response(Account(call.user_id, 0, created_at), headers={"Location": PATH})


@get(summary="Show your balance", responses=documented(HTTPStatus.NOT_FOUND))
async def show_account(call: NamedDependency[Call]) -> Account:
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
async def top_up(
    data: JSONBody[TopUp], call: NamedDependency[Call], idempotency_key: IdempotencyKey = None
) -> Response[ToppedUp]:
    done = await call.top_ups.submit(NewTopUp(call.user_id, data.amount, parse_key(idempotency_key)))
    return Response(done.topped_up, headers=REPLAYED if done.replayed else {})


@get("/entries", summary="Show your ledger", responses=documented(HTTPStatus.NOT_FOUND))
async def show_ledger(
    call: NamedDependency[Call],
    cursor: Annotated[int | None, QueryParameter(ge=1, le=LAST_VERSION)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> EntryPage:
    """Newest first. Pass `next_cursor` as `cursor` for the page after this one."""
    rows = await accounts.newest_entries(call.database, call.user_id, cursor, limit + 1)
    items = [LedgerEntry(*row) for row in rows[:limit]]
    return EntryPage(items, items[-1].version if len(rows) > limit else None)


router = Router(
    PATH,
    route_handlers=[open_account, show_account, top_up, show_ledger],
    tags=["Payments"],
    security=[{"user": []}],
)
