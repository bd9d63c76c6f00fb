"""Invariants of accounts, their ledger entries and their payments. Amounts are in kopecks."""

from auditor.invariants import QueryInvariant

LEDGER = (
    QueryInvariant(
        "one-payment-per-order",
        "payments",
        "An order has at most one payment.",
        """
        SELECT order_id, count(*) AS payments, count(*) = 1 AS holds FROM payments GROUP BY order_id
        """,
    ),
    QueryInvariant(
        "debit-of-payment",
        "payments",
        "A payment succeeded exactly when its order has one debit, of the same user and amount.",
        """
        WITH debits AS (
            SELECT order_id, count(*) AS debits, min(user_id) AS debited, sum(amount) AS debit
            FROM ledger_entries WHERE kind = 'debit' AND order_id IS NOT NULL GROUP BY order_id
        )
        SELECT order_id, user_id, amount, outcome, debits, debited, debit,
               CASE outcome WHEN 'succeeded' THEN debits = 1 AND debited = user_id AND debit = -amount
                            WHEN 'failed' THEN debits IS NULL END AS holds
        FROM payments FULL JOIN debits USING (order_id)
        """,
    ),
    QueryInvariant(
        "entry-of-its-kind",
        "payments",
        "A debit is negative and has an order. A top-up is positive and has none.",
        """
        SELECT id, user_id, kind, amount, order_id,
               CASE kind WHEN 'debit' THEN amount < 0 AND order_id IS NOT NULL
                         WHEN 'top_up' THEN amount > 0 AND order_id IS NULL END AS holds
        FROM ledger_entries
        """,
    ),
    QueryInvariant(
        "entry-of-an-account",
        "payments",
        "Every ledger entry belongs to an existing account.",
        """
        WITH owners AS (SELECT user_id, count(*) AS entries FROM ledger_entries GROUP BY user_id)
        SELECT owners.user_id, entries, accounts.user_id IS NOT NULL AS holds
        FROM owners LEFT JOIN accounts USING (user_id)
        """,
    ),
    QueryInvariant(
        "balance-is-the-sum",
        "payments",
        "The balance of an account is the sum of its entries, and 0 without entries.",
        """
        WITH sums AS (SELECT user_id, sum(amount) AS entries FROM ledger_entries GROUP BY user_id)
        SELECT user_id, balance, coalesce(entries, 0) AS sum_of_entries, balance = coalesce(entries, 0) AS holds
        FROM accounts LEFT JOIN sums USING (user_id)
        """,
    ),
    QueryInvariant(
        "versions-without-gaps",
        "payments",
        "The entries of an account have the versions 1 to n, each once, and the version of the account is n.",
        """
        WITH counted AS (
            SELECT user_id, count(*) AS entries, count(DISTINCT account_version) AS versions,
                   min(account_version) AS lowest, max(account_version) AS highest
            FROM ledger_entries GROUP BY user_id
        )
        SELECT user_id, version, entries, versions, lowest, highest,
               CASE WHEN entries IS NULL THEN version = 0
                    ELSE lowest = 1 AND highest = entries AND versions = entries AND version = entries END AS holds
        FROM accounts LEFT JOIN counted USING (user_id)
        """,
    ),
    # By induction, the balance after an entry is the sum of all entries up to it. Comparing neighbours reports the
    # wrong entry only, and not the entries after it.
    QueryInvariant(
        "running-balance",
        "payments",
        "The balance after an entry is the balance after the one before it, or 0, plus its amount.",
        """
        WITH replayed AS (
            SELECT id, user_id, account_version, amount, balance_after,
                   amount + lag(balance_after, 1, CAST(0 AS bigint)) OVER (
                       PARTITION BY user_id ORDER BY account_version, id
                   ) AS replayed
            FROM ledger_entries
        )
        SELECT *, balance_after = replayed AS holds FROM replayed
        """,
    ),
    QueryInvariant(
        "no-negative-balance",
        "payments",
        "No balance is negative, neither now nor after any earlier entry.",
        """
        SELECT user_id, account_version AS version, balance_after AS balance, balance_after >= 0 AS holds
        FROM ledger_entries
        UNION ALL SELECT user_id, version, balance, balance >= 0 FROM accounts
        """,
    ),
)
