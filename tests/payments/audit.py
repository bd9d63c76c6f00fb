"""What must be true of every account, whatever happened."""

from itertools import accumulate

from shopkit.db import Database
from tests.servers import rows


async def audit(database: Database) -> dict[str, int]:
    """Checks each account against its ledger, and returns the balances."""
    accounts = {
        row.user_id: (row.balance, row.version)
        for row in await rows(database, "SELECT user_id, balance, version FROM accounts")
    }
    entries = await rows(
        database,
        "SELECT user_id, amount, account_version, balance_after FROM ledger_entries ORDER BY account_version",
    )
    assert {entry.user_id for entry in entries} <= accounts.keys()
    for user_id, (balance, version) in accounts.items():
        own = [entry for entry in entries if entry.user_id == user_id]
        assert [entry.account_version for entry in own] == list(range(1, version + 1))
        assert [entry.balance_after for entry in own] == list(accumulate(entry.amount for entry in own))
        assert balance == sum(entry.amount for entry in own)
        assert all(entry.balance_after >= 0 for entry in own)
    amiss = await rows(
        database,
        """
        WITH debits AS (SELECT order_id, user_id AS payer, amount AS debit FROM ledger_entries WHERE kind = 'debit')
        SELECT order_id FROM payments FULL JOIN debits USING (order_id)
        WHERE NOT coalesce(CASE outcome
            WHEN 'succeeded' THEN debit = -amount AND payer = user_id
            WHEN 'failed' THEN debit IS NULL
        END, false)
        """,
    )
    assert not amiss, "a payment without its debit, or a debit without its payment"
    return {user_id: balance for user_id, (balance, _) in accounts.items()}
