"""Invariants of payment decisions: the account before the decision justifies it. Amounts are in kopecks."""

from auditor.invariants import QueryInvariant

DECISIONS = (
    QueryInvariant(
        "known-outcome",
        "payments",
        "A payment succeeded and has no reason, or it failed for no_account or insufficient_funds.",
        """
        SELECT order_id, user_id, outcome, reason,
               CASE outcome WHEN 'succeeded' THEN reason IS NULL
                            WHEN 'failed' THEN reason IN ('no_account', 'insufficient_funds') END AS holds
        FROM payments
        """,
    ),
    # The invariant debit-of-payment reports a payment without a debit.
    QueryInvariant(
        "paid-from-balance",
        "payments",
        "The balance covered a payment. Its debit is the next ledger entry and has exactly its amount.",
        """
        SELECT order_id, payments.user_id, payments.amount, payments.account_version, balance_before,
               debit.account_version AS debit_version, debit.balance_after,
               balance_before >= payments.amount
                   AND debit.account_version = payments.account_version + 1
                   AND debit.balance_after = balance_before - payments.amount AS holds
        FROM payments JOIN ledger_entries AS debit USING (order_id)
        WHERE outcome = 'succeeded' AND kind = 'debit'
        """,
    ),
    QueryInvariant(
        "declined-for-lack-of-funds",
        "payments",
        "If a payment failed for insufficient_funds, the balance at that version of the account was too low.",
        """
        WITH ledger AS (
            SELECT user_id, 0 AS account_version, 0 AS balance_after FROM accounts
            UNION ALL SELECT user_id, account_version, balance_after FROM ledger_entries
        )
        SELECT order_id, user_id, amount, account_version, balance_before, balance_after AS balance_in_ledger,
               balance_before < amount AND balance_before = balance_after AS holds
        FROM payments LEFT JOIN ledger USING (user_id, account_version)
        WHERE reason = 'insufficient_funds'
        """,
    ),
    # Both times are the starts of transactions. The transaction that opened the account may have started first and
    # committed after the decision had found no account. Opening an account takes less than two seconds.
    QueryInvariant(
        "declined-without-account",
        "payments",
        "If a payment failed for no_account, the user had no account then. The user may have opened one later.",
        """
        SELECT order_id, user_id, account_version, balance_before, decided_at, created_at AS opened_at,
               account_version IS NULL AND balance_before IS NULL
                   AND (created_at IS NULL OR created_at > decided_at - interval '2 seconds') AS holds
        FROM payments LEFT JOIN accounts USING (user_id)
        WHERE reason = 'no_account'
        """,
    ),
)
