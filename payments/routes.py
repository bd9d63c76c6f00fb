"""The HTTP entry points of payments."""

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from payments import accounts, api_schema
from payments.accounts import NewTopUp, TopUpResult, account_exists, balance_limit, no_account
from payments.api_schema import LAST_VERSION, PATH, Account, EntryPage, LedgerEntry, ToppedUp, TopUp
from shopkit.db.database import Database, Row
from shopkit.runtime.batcher import Batcher
from shopkit.web.idempotency import REPLAYED, IdempotencyKey, key_reused, parse_key
from shopkit.web.identity import user_router
from shopkit.web.json_body import StrictJson, not_json, too_large
from shopkit.web.problems import FieldError, invalid, too_slow
from shopkit.web.query_params import once_and_not_null
from shopkit.web.responses import refusals


class PaymentsContext(msgspec.Struct, frozen=True):
    """Who calls, and what answering takes."""

    user_id: str
    database: Database
    top_ups: Batcher[NewTopUp, TopUpResult]


@post(summary="Open your account", responses={201: api_schema.OPENED} | refusals(account_exists()))
async def open_account(call: NamedDependency[PaymentsContext]) -> Response[Account]:
    """At most one per user; it starts empty."""
    created_at = await accounts.open_account(call.database, call.user_id)
    return Response(Account(call.user_id, 0, created_at), headers={"Location": PATH})


@get(summary="Show your balance", responses={200: api_schema.SHOWN} | refusals(no_account()))
async def show_account(call: NamedDependency[PaymentsContext]) -> Account:
    balance, created_at = await accounts.show_account(call.database, call.user_id)
    return Account(call.user_id, balance, created_at)


@post(
    "/top-ups",
    dto=StrictJson[TopUp],
    return_dto=None,
    summary="Top up your account",
    responses={201: api_schema.TOPPED_UP}
    | refusals(
        invalid([FieldError("amount", "Expected `int` >= 1")]),
        no_account(),
        too_large(),
        too_slow(),
        not_json(),
        key_reused(),
        balance_limit(),
    ),
)
async def top_up(
    data: JSONBody[TopUp], call: NamedDependency[PaymentsContext], idempotency_key: IdempotencyKey = None
) -> Response[ToppedUp]:
    done = await call.top_ups.submit(NewTopUp(call.user_id, data.amount, parse_key(idempotency_key)))
    return Response(done.topped_up, headers=REPLAYED if done.replayed else {})


@get(
    "/entries",
    before_request=once_and_not_null,
    summary="Show your ledger",
    responses={200: api_schema.LISTED}
    | refusals(invalid([FieldError("limit", "Expected `int` <= 100")]), no_account()),
)
async def show_ledger(
    call: NamedDependency[PaymentsContext],
    cursor: Annotated[
        int | None, QueryParameter(ge=1, le=LAST_VERSION, description="`next_cursor` of the page before.")
    ] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100, description="How many on a page.")] = 20,
) -> EntryPage:
    """Newest first. Pass `next_cursor` as `cursor` for the page after this one."""
    rows = await accounts.newest_entries(call.database, call.user_id, cursor or LAST_VERSION, limit + 1)
    items = [LedgerEntry(*_fields(row)) for row in rows[:limit]]
    return EntryPage(items, items[-1].version if len(rows) > limit else None)


def _fields(row: Row) -> tuple[Any, ...]:
    """Of a ledger entry, with no order where the database has null."""
    return (*row[:6], row.order_id or msgspec.UNSET)


router = user_router(PATH, [open_account, show_account, top_up, show_ledger], "Payments")
