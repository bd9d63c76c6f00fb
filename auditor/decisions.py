"""What justifies the decision about an order: the account as it was found. Amounts are in kopecks."""

from auditor.invariants import Queried

DECISIONS = (
    Queried(
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
    # A payment without its debit is named by debit-of-payment.
    Queried(
        "paid-from-balance",
        "payments",
        "What was paid was there, and the debit is the next entry of the account and takes just that.",
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
    Queried(
        "declined-for-lack-of-funds",
        "payments",
        "Who was declined for insufficient_funds had less than the amount, as the ledger says of that version.",
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
    # Both times are the starts of transactions. The one that opened the account may have started first and
    # committed after the other had looked for it; no opening takes two seconds.
    Queried(
        "declined-without-account",
        "payments",
        "Who was declined for no_account had none then; one may have been opened later.",
        """
        SELECT order_id, user_id, account_version, balance_before, decided_at, created_at AS opened_at,
               account_version IS NULL AND balance_before IS NULL
                   AND (created_at IS NULL OR created_at > decided_at - interval '2 seconds') AS holds
        FROM payments LEFT JOIN accounts USING (user_id)
        WHERE reason = 'no_account'
        """,
    ),
)
