"""Accounts: open one, show its balance and ledger, and top it up."""

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
    """A request to top up. Requests of a user with the same `key` take effect once. `amount` is in kopecks."""

    user_id: str
    amount: int
    key: str | None = None


class TopUpResult(msgspec.Struct, frozen=True):
    """The result of a NewTopUp. `replayed` is true if an earlier request with the same key made this top-up."""

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
    """Opens an account and returns the time of it. Raises a 409 Problem if the user has an account already."""
    async with database.autocommit() as connection:
        created_at = await connection.fetchval(OPEN, user_id)
    if created_at is None:
        raise account_exists()
    return created_at


async def show_account(database: Database, user_id: str) -> tuple[int, datetime]:
    """Returns the balance in kopecks and the time of opening. Raises a 404 Problem if there is no account."""
    async with database.autocommit() as connection:
        row = await connection.fetchrow(SHOW, user_id)
    if row is None:
        raise no_account()
    return row.balance, row.created_at


async def newest_entries(database: Database, user_id: str, before: int, limit: int) -> Sequence[Row]:
    """Returns at most `limit` ledger entries, newest first, with versions below `before`.

    Raises a 404 Problem if there is no account.
    """
    async with database.autocommit() as connection:
        entries = await connection.fetch(NEWEST_ENTRIES, user_id, before, limit)
        if not entries and await connection.fetchrow(SHOW, user_id) is None:
            raise no_account()
    return entries


class TopUps:
    """Writes a batch of top-ups. `Batcher` calls it with the top-ups that `routes.top_up` has submitted.

    For each top-up it writes a ledger entry and adds the amount to the balance.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def top_up(self, top_ups: Sequence[NewTopUp]) -> list[TopUpResult | Exception]:
        """Writes the top-ups in one transaction. Returns one result per top-up, in order.

        The result is a 404 Problem if the user has no account. It is a 422 Problem if the key was used with another
        amount, or if the balance would exceed BALANCE_LIMIT. Such a top-up does not affect the others.
        """
        async with self._database.begin() as connection:
            now: datetime = await connection.fetchval("SELECT now()")
            # The keys must be read after the accounts are locked. A transaction that held a lock before may have
            # used one of the keys.
            accounts = await ledger.lock_accounts(connection, (top_up.user_id for top_up in top_ups))
            keys = [(top_up.user_id, top_up.key) for top_up in top_ups if top_up.key is not None]
            earlier = {
                (row.user_id, row.idempotency_key): ToppedUp(row.id, row.amount, row.balance_after, row.created_at)
                for row in await ledger.entries_by_key(connection, keys)
            }
            entries, results = apply(top_ups, accounts, earlier, now)
            await ledger.write(connection, entries, {entry.user_id: entry.account for entry in entries})
        return results


def apply(
    top_ups: Sequence[NewTopUp],
    accounts: Mapping[str, LockedAccount],
    earlier: Mapping[tuple[str, str | None], ToppedUp],
    now: datetime,
) -> tuple[list[NewEntry], list[TopUpResult | Exception]]:
    """Returns the ledger entries to write, and one result per top-up, in order. It is a pure function.

    `earlier` has the top-ups that were made with these keys before, by user id and key.
    """
    current = dict(accounts)
    topped_up_by_key = dict(earlier)
    entries: list[NewEntry] = []
    results: list[TopUpResult | Exception] = []
    for top_up in top_ups:
        user_and_key = top_up.user_id, top_up.key
        if top_up.user_id not in current:
            results.append(no_account())
        elif (repeated := topped_up_by_key.get(user_and_key)) is not None:
            results.append(TopUpResult(repeated, True) if repeated.amount == top_up.amount else key_reused())
        elif (account := current[top_up.user_id].after(top_up.amount)).balance > BALANCE_LIMIT:
            results.append(balance_limit())
        else:
            current[top_up.user_id] = account
            entry = NewEntry(uuid7(), top_up.user_id, "top_up", top_up.amount, None, account, top_up.key)
            topped_up = ToppedUp(entry.id, entry.amount, account.balance, now)
            entries.append(entry)
            results.append(TopUpResult(topped_up, False))
            if top_up.key is not None:
                topped_up_by_key[user_and_key] = topped_up
    return entries, results
