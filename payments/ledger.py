"""Accounts and their ledger in the database: lock, write entries, write balances."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from uuid import UUID

import msgspec

from payments.decisions import LockedAccount
from shopkit.db.database import Connection, Row

# In the order of user ids, so that two transactions with overlapping accounts cannot deadlock.
LOCK = """
    SELECT user_id, balance, version FROM accounts
    WHERE user_id = ANY ($1::text[])
    ORDER BY user_id FOR NO KEY UPDATE
"""

# The account is given once with its final balance: an UPDATE ... FROM with one row twice applies it once.
WRITE_ACCOUNTS = """
    UPDATE accounts SET balance = written.balance, version = written.version
    FROM unnest($1::text[], $2::bigint[], $3::bigint[])
        AS written (user_id, balance, version)
    WHERE accounts.user_id = written.user_id
"""

WRITE_ENTRIES = """
    INSERT INTO ledger_entries
        (id, user_id, kind, amount, order_id, account_version, balance_after, idempotency_key)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[],
                         $4::bigint[], $5::uuid[],
                         $6::bigint[], $7::bigint[], $8::text[])
"""

FIRST_OF_KEYS = """
    SELECT user_id, idempotency_key, id, amount, balance_after, created_at
    FROM ledger_entries
    JOIN unnest($1::text[], $2::text[]) AS given (user_id, idempotency_key)
        USING (user_id, idempotency_key)
"""


class NewEntry(msgspec.Struct, frozen=True):
    """A ledger entry. `amount` is signed, in kopecks; `account` is the account after it."""

    id: UUID
    user_id: str
    kind: Literal["top_up", "debit"]
    amount: int
    order_id: UUID | None
    account: LockedAccount
    key: str | None = None


async def lock_accounts(connection: Connection, user_ids: Iterable[str]) -> dict[str, LockedAccount]:
    """The accounts that exist among `user_ids`, held until the transaction ends."""
    rows = await connection.fetch(LOCK, list(set(user_ids)))
    return {user_id: LockedAccount(balance, version) for user_id, balance, version in rows}


async def write(connection: Connection, entries: Sequence[NewEntry], accounts: Mapping[str, LockedAccount]) -> None:
    """Writes `entries` and the `accounts` as they are after all of them; the accounts must be locked."""
    if not entries:
        return
    await connection.execute(
        WRITE_ENTRIES,
        [entry.id for entry in entries],
        [entry.user_id for entry in entries],
        [entry.kind for entry in entries],
        [entry.amount for entry in entries],
        [entry.order_id for entry in entries],
        [entry.account.version for entry in entries],
        [entry.account.balance for entry in entries],
        [entry.key for entry in entries],
    )
    await connection.execute(
        WRITE_ACCOUNTS,
        list(accounts),
        [account.balance for account in accounts.values()],
        [account.version for account in accounts.values()],
    )


async def first_of_keys(connection: Connection, keys: Sequence[tuple[str, str]]) -> list[Row]:
    """The entries that were written with these keys, each a pair of user id and key."""
    if not keys:
        return []
    return await connection.fetch(FIRST_OF_KEYS, [user_id for user_id, _ in keys], [key for _, key in keys])
