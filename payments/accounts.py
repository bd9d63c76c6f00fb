"""Opening an account, showing it, topping it up."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus

import msgspec
from uuid_utils.compat import uuid7

from payments import ledger
from payments.api_schema import ToppedUp
from payments.decisions import BALANCE_LIMIT, LockedAccount
from payments.ledger import NewEntry
from shopkit.db.database import Database, Row
from shopkit.web.idempotency import key_reused
from shopkit.web.problems import FieldError, Problem

OPEN = """
    INSERT INTO accounts (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING RETURNING created_at
"""

SHOW = "SELECT balance, created_at FROM accounts WHERE user_id = $1"

NEWEST_ENTRIES = """
    SELECT id, kind, amount, account_version, balance_after, created_at, order_id FROM ledger_entries
    WHERE user_id = $1 AND account_version < $2 ORDER BY account_version DESC LIMIT $3
"""


class NewTopUp(msgspec.Struct, frozen=True):
    """With a `key`, it takes effect once, however often it is submitted."""

    user_id: str
    amount: int
    key: str | None = None


class TopUpResult(msgspec.Struct, frozen=True):
    """`replayed` when the top-up of this key took effect before."""

    topped_up: ToppedUp
    replayed: bool


def no_account() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "no-account", "You have no account yet.")


def balance_limit() -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "balance-limit",
        f"The balance would exceed {BALANCE_LIMIT} kopecks.",
        [FieldError("amount", "more than the account can hold")],
    )


def account_exists() -> Problem:
    return Problem(HTTPStatus.CONFLICT, "account-exists", "You have an account already.")


async def open_account(database: Database, user_id: str) -> datetime:
    """Returns when it was opened. Raises a 409 Problem when the user has one."""
    async with database.autocommit() as connection:
        created_at = await connection.fetchval(OPEN, user_id)
    if created_at is None:
        raise account_exists()
    return created_at


async def show_account(database: Database, user_id: str) -> tuple[int, datetime]:
    """The balance in kopecks and when the account was opened. Raises a 404 Problem."""
    async with database.autocommit() as connection:
        row = await connection.fetchrow(SHOW, user_id)
    if row is None:
        raise no_account()
    return row.balance, row.created_at


async def newest_entries(database: Database, user_id: str, before: int, limit: int) -> Sequence[Row]:
    """At most `limit` ledger entries, newest first, below version `before`. Raises a 404 Problem."""
    async with database.autocommit() as connection:
        entries = await connection.fetch(NEWEST_ENTRIES, user_id, before, limit)
        if not entries and await connection.fetchrow(SHOW, user_id) is None:
            raise no_account()
    return entries


class TopUps:
    """What the batcher flushes: each top-up is a ledger entry, and the balance grows by it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, top_ups: Sequence[NewTopUp]) -> list[TopUpResult | Exception]:
        """Returns the outcome of each top-up, in order. A refused top-up does not affect the others.

        A user without an account yields a 404 Problem. A key that was used with another amount and a balance above
        BALANCE_LIMIT each yield a 422 Problem.
        """
        async with self._database.begin() as connection:
            now: datetime = await connection.fetchval("SELECT now()")
            # Keys are read after the locks: whoever held them before may just have used one.
            locked = await ledger.lock_accounts(connection, (top_up.user_id for top_up in top_ups))
            keys = [(top_up.user_id, top_up.key) for top_up in top_ups if top_up.key is not None]
            first = {
                (row.user_id, row.idempotency_key): ToppedUp(row.id, row.amount, row.balance_after, row.created_at)
                for row in await ledger.first_of_keys(connection, keys)
            }
            entries, outcomes = apply(top_ups, locked, first, now)
            await ledger.write(connection, entries, {entry.user_id: entry.account for entry in entries})
        return outcomes


def apply(
    top_ups: Sequence[NewTopUp],
    accounts: Mapping[str, LockedAccount],
    first: Mapping[tuple[str, str | None], ToppedUp],
    now: datetime,
) -> tuple[list[NewEntry], list[TopUpResult | Exception]]:
    """The entries to write and what to answer, in the order of `top_ups`. `first` is what keys did before."""
    balances = dict(accounts)
    done = dict(first)
    entries: list[NewEntry] = []
    outcomes: list[TopUpResult | Exception] = []
    for top_up in top_ups:
        of_key = top_up.user_id, top_up.key
        if top_up.user_id not in balances:
            outcomes.append(no_account())
        elif of_key in done:
            outcomes.append(
                TopUpResult(done[of_key], True) if done[of_key].amount == top_up.amount else key_reused()
            )
        elif (account := balances[top_up.user_id].after(top_up.amount)).balance > BALANCE_LIMIT:
            outcomes.append(balance_limit())
        else:
            balances[top_up.user_id] = account
            entry = NewEntry(uuid7(), top_up.user_id, "top_up", top_up.amount, None, account, top_up.key)
            topped_up = ToppedUp(entry.id, entry.amount, account.balance, now)
            entries.append(entry)
            outcomes.append(TopUpResult(topped_up, False))
            if top_up.key is not None:
                done[of_key] = topped_up
    return entries, outcomes
