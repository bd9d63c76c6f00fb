"""Accounts and their ledger in the database: lock, write entries, write balances."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from payments.settle import Account

# In the order of user ids, so that two transactions with overlapping accounts cannot deadlock.
LOCK = text("""
    SELECT user_id, balance, version FROM accounts
    WHERE user_id = ANY (CAST(:user_ids AS text[]))
    ORDER BY user_id FOR NO KEY UPDATE
""")

# The account is given once with its final balance: an UPDATE ... FROM with one row twice applies it once.
WRITE_ACCOUNTS = text("""
    UPDATE accounts SET balance = written.balance, version = written.version
    FROM unnest(CAST(:user_ids AS text[]), CAST(:balances AS bigint[]), CAST(:versions AS bigint[]))
        AS written (user_id, balance, version)
    WHERE accounts.user_id = written.user_id
""")

WRITE_ENTRIES = text("""
    INSERT INTO ledger_entries
        (id, user_id, kind, amount, order_id, account_version, balance_after, idempotency_key)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:user_ids AS text[]), CAST(:kinds AS text[]),
                         CAST(:amounts AS bigint[]), CAST(:order_ids AS uuid[]),
                         CAST(:versions AS bigint[]), CAST(:balances AS bigint[]), CAST(:keys AS text[]))
""")

FIRST_OF_KEYS = text("""
    SELECT user_id, idempotency_key, id, amount, balance_after, created_at
    FROM ledger_entries
    JOIN unnest(CAST(:user_ids AS text[]), CAST(:keys AS text[])) AS given (user_id, idempotency_key)
        USING (user_id, idempotency_key)
""")


class Entry(msgspec.Struct, frozen=True):
    """A ledger entry. `amount` is signed, in kopecks; `account` is the account after it."""

    id: UUID
    user_id: str
    kind: Literal["top_up", "debit"]
    amount: int
    order_id: UUID | None
    account: Account
    key: str | None = None


async def lock_accounts(connection: AsyncConnection, user_ids: Iterable[str]) -> dict[str, Account]:
    """The accounts that exist among `user_ids`, held until the transaction ends."""
    rows = await connection.execute(LOCK, {"user_ids": list(set(user_ids))})
    return {user_id: Account(balance, version) for user_id, balance, version in rows}


async def write(connection: AsyncConnection, entries: Sequence[Entry], accounts: Mapping[str, Account]) -> None:
    """Writes `entries` and the `accounts` as they are after all of them; the accounts must be locked."""
    if not entries:
        return
    await connection.execute(
        WRITE_ENTRIES,
        {
            "ids": [entry.id for entry in entries],
            "user_ids": [entry.user_id for entry in entries],
            "kinds": [entry.kind for entry in entries],
            "amounts": [entry.amount for entry in entries],
            "order_ids": [entry.order_id for entry in entries],
            "versions": [entry.account.version for entry in entries],
            "balances": [entry.account.balance for entry in entries],
            "keys": [entry.key for entry in entries],
        },
    )
    await connection.execute(
        WRITE_ACCOUNTS,
        {
            "user_ids": list(accounts),
            "balances": [account.balance for account in accounts.values()],
            "versions": [account.version for account in accounts.values()],
        },
    )


async def first_of_keys(
    connection: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> list[Row[*tuple[Any, ...]]]:
    """The entries that were written with these keys, each a pair of user id and key."""
    if not keys:
        return []
    values = {"user_ids": [user_id for user_id, _ in keys], "keys": [key for _, key in keys]}
    return list((await connection.execute(FIRST_OF_KEYS, values)).all())
