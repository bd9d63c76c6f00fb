"""Database statements for accounts and their ledger: lock accounts, write entries and balances."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from uuid import UUID

import msgspec

from payments.decisions import LockedAccount
from shopkit.db.database import Connection, Row

# Accounts are locked in the order of user ids, so that two transactions with overlapping accounts cannot deadlock.
LOCK = """
    SELECT user_id, balance, version FROM accounts
    WHERE user_id = ANY ($1::text[])
    ORDER BY user_id FOR NO KEY UPDATE
"""

# Each account must occur once, with its final balance: UPDATE ... FROM applies only one of two rows for an account.
WRITE_ACCOUNTS = """
    UPDATE accounts SET balance = changed.balance, version = changed.version
    FROM unnest($1::text[], $2::bigint[], $3::bigint[])
        AS changed (user_id, balance, version)
    WHERE accounts.user_id = changed.user_id
"""

WRITE_ENTRIES = """
    INSERT INTO ledger_entries
        (id, user_id, kind, amount, order_id, account_version, balance_after, idempotency_key)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[],
                         $4::bigint[], $5::uuid[],
                         $6::bigint[], $7::bigint[], $8::text[])
"""

ENTRIES_BY_KEY = """
    SELECT user_id, idempotency_key, id, amount, balance_after, created_at
    FROM ledger_entries
    JOIN unnest($1::text[], $2::text[]) AS requested (user_id, idempotency_key)
        USING (user_id, idempotency_key)
"""


class NewEntry(msgspec.Struct, frozen=True):
    """A ledger entry to write. `amount` is in kopecks, negative for a debit. `account` is the account after it."""

    id: UUID
    user_id: str
    kind: Literal["top_up", "debit"]
    amount: int
    order_id: UUID | None
    account: LockedAccount
    key: str | None = None


async def lock_accounts(connection: Connection, user_ids: Iterable[str]) -> dict[str, LockedAccount]:
    """Locks the accounts of `user_ids` until the transaction ends. Returns the existing accounts by user id."""
    rows = await connection.fetch(LOCK, list(set(user_ids)))
    return {user_id: LockedAccount(balance, version) for user_id, balance, version in rows}


async def write(connection: Connection, entries: Sequence[NewEntry], accounts: Mapping[str, LockedAccount]) -> None:
    """Writes `entries`, and `accounts` with their state after all entries. The accounts must be locked."""
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


async def entries_by_key(connection: Connection, keys: Sequence[tuple[str, str]]) -> list[Row]:
    """Returns the entries that were written with these idempotency keys. Each key is a pair of user id and key."""
    if not keys:
        return []
    return await connection.fetch(ENTRIES_BY_KEY, [user_id for user_id, _ in keys], [key for _, key in keys])
