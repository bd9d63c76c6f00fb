"""The HTTP interface of payments."""

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
from shopkit.web.responses import error_responses


class PaymentsContext(msgspec.Struct, frozen=True):
    """The user of a request, and the parts of the service that its handler needs."""

    user_id: str
    database: Database
    top_ups: Batcher[NewTopUp, TopUpResult]


@post(summary="Open your account", responses={201: api_schema.OPENED} | error_responses(account_exists()))
async def open_account(call: NamedDependency[PaymentsContext]) -> Response[Account]:
    """A user can have one account. Its balance starts at 0."""
    created_at = await accounts.open_account(call.database, call.user_id)
    return Response(Account(call.user_id, 0, created_at), headers={"Location": PATH})


@get(summary="Show your balance", responses={200: api_schema.SHOWN} | error_responses(no_account()))
async def show_account(call: NamedDependency[PaymentsContext]) -> Account:
    balance, created_at = await accounts.show_account(call.database, call.user_id)
    return Account(call.user_id, balance, created_at)


@post(
    "/top-ups",
    dto=StrictJson[TopUp],
    return_dto=None,
    summary="Top up your account",
    responses={201: api_schema.TOPPED_UP}
    | error_responses(
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
    result = await call.top_ups.submit(NewTopUp(call.user_id, data.amount, parse_key(idempotency_key)))
    return Response(result.topped_up, headers=REPLAYED if result.replayed else {})


@get(
    "/entries",
    before_request=once_and_not_null,
    summary="Show your ledger",
    responses={200: api_schema.LISTED}
    | error_responses(invalid([FieldError("limit", "Expected `int` <= 100")]), no_account()),
)
async def show_ledger(
    call: NamedDependency[PaymentsContext],
    cursor: Annotated[
        int | None, QueryParameter(ge=1, le=LAST_VERSION, description="`next_cursor` of the previous page.")
    ] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100, description="The maximum number of entries.")] = 20,
) -> EntryPage:
    """Returns your ledger entries, newest first. Pass `next_cursor` as `cursor` for the next page."""
    rows = await accounts.newest_entries(call.database, call.user_id, cursor or LAST_VERSION, limit + 1)
    items = [LedgerEntry(*_entry_fields(row)) for row in rows[:limit]]
    return EntryPage(items, items[-1].version if len(rows) > limit else None)


def _entry_fields(row: Row) -> tuple[Any, ...]:
    """Returns the fields of `LedgerEntry` in their order. If `order_id` is NULL in the database, it is unset."""
    return (*row[:6], row.order_id or msgspec.UNSET)


router = user_router(PATH, [open_account, show_account, top_up, show_ledger], "Payments")
