"""Opening an account, showing it, topping it up."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

import msgspec
from sqlalchemy import func, select, text
from uuid_utils.compat import uuid7

from payments import ledger
from payments.ledger import Entry
from payments.models import accounts
from shopkit.db import Database
from shopkit.problems import Problem

OPEN = text("""
    INSERT INTO accounts (user_id) VALUES (:user_id) ON CONFLICT (user_id) DO NOTHING RETURNING created_at
""")


class NewTopUp(msgspec.Struct, frozen=True):
    user_id: str
    amount: int


class ToppedUp(msgspec.Struct, frozen=True):
    """`amount` and `balance_after` are in kopecks."""

    id: UUID
    amount: int
    balance_after: int
    created_at: datetime


def no_account() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "no-account", "You have no account yet.")


async def open_account(database: Database, user_id: str) -> datetime:
    """Returns when it was opened. Raises a 409 Problem when the user has one."""
    async with database.begin() as connection:
        created_at = await connection.scalar(OPEN, {"user_id": user_id})
    if created_at is None:
        raise Problem(HTTPStatus.CONFLICT, "account-exists", "You have an account already.")
    return created_at


async def show_account(database: Database, user_id: str) -> tuple[int, datetime]:
    """The balance in kopecks and when the account was opened. Raises a 404 Problem."""
    query = select(accounts.c.balance, accounts.c.created_at).where(accounts.c.user_id == user_id)
    async with database.begin() as connection:
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise no_account()
    return row.balance, row.created_at


class TopUps:
    """What the batcher flushes: each top-up is a ledger entry, and the balance grows by it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, top_ups: Sequence[NewTopUp]) -> list[ToppedUp | Exception]:
        async with self._database.begin() as connection:
            now = (await connection.execute(select(func.now()))).scalar_one()
            known = await ledger.lock_accounts(connection, (top_up.user_id for top_up in top_ups))
            entries: list[Entry | None] = []
            for top_up in top_ups:
                account = known.get(top_up.user_id)
                if account is None:
                    entries.append(None)
                    continue
                known[top_up.user_id] = account = account.after(top_up.amount)
                entries.append(Entry(uuid7(), top_up.user_id, "top_up", top_up.amount, None, account))
            await ledger.write(connection, [entry for entry in entries if entry is not None], known)
        return [_topped_up(entry, now) for entry in entries]


def _topped_up(entry: Entry | None, now: datetime) -> ToppedUp | Exception:
    return no_account() if entry is None else ToppedUp(entry.id, entry.amount, entry.account.balance, now)
