"""Defects of ledger entries: a payment has not exactly one debit, or an entry does not fit its kind."""

from tests.auditor.planting import (
    DECIDED_AN_HOUR_AGO,
    DECLINED,
    PAID,
    Defects,
    account,
    entry,
    of,
    payments,
    without,
)

DEBITS: Defects = {
    "two-payments": (
        payments(
            without("payments", "payments_pkey"),
            "INSERT INTO payments SELECT * FROM payments WHERE user_id = 'ann'",
            DECIDED_AN_HOUR_AGO,
        ),
        {"one-payment-per-order": {"order_id": PAID, "payments": 2}},
    ),
    "paid-without-a-debit": (
        payments("DELETE FROM ledger_entries WHERE user_id = 'ann' AND kind = 'debit'", account("ann", 500, 1)),
        {"debit-of-payment": {"order_id": PAID, "debits": None}},
    ),
    "debited-twice": (
        payments(
            without("ledger_entries", "ledger_entries_one_of_an_order"),
            entry("ann", "debit", -200, 3, 100, f"'{PAID}'"),
            account("ann", 100, 3),
        ),
        {
            "debit-of-payment": {"order_id": PAID, "debits": 2},
            "paid-from-balance": {"order_id": PAID, "debit_version": 3},
        },
    ),
    # The sum of the two debits is right, but there must be only one.
    "debited-in-two-halves": (
        payments(
            without("ledger_entries", "ledger_entries_one_of_an_order"),
            "UPDATE ledger_entries SET amount = -100, balance_after = 400 WHERE user_id = 'ann' AND kind = 'debit'",
            entry("ann", "debit", -100, 3, 300, f"'{PAID}'"),
            account("ann", 300, 3),
        ),
        {
            "debit-of-payment": {"order_id": PAID, "debits": 2, "debit": -200},
            "paid-from-balance": {"order_id": PAID, "debit_version": 3},
        },
    ),
    "debited-from-another-user": (
        payments(
            "UPDATE ledger_entries SET user_id = 'fred' WHERE user_id = 'ann' AND kind = 'debit'",
            account("ann", 500, 1),
            account("fred", 300, 2),
        ),
        {"debit-of-payment": {"order_id": PAID, "user_id": "ann", "debited": "fred"}},
    ),
    "debited-another-amount": (
        payments(
            "UPDATE ledger_entries SET amount = -150, balance_after = 350 WHERE user_id = 'ann' AND kind = 'debit'",
            account("ann", 350, 2),
            of("payments", "ann", "balance_before = 550"),
        ),
        {"debit-of-payment": {"order_id": PAID, "amount": 200, "debit": -150}},
    ),
    "debited-without-a-payment": (
        payments(entry("fred", "debit", -100, 2, 400, "gen_random_uuid()"), account("fred", 400, 2)),
        {"debit-of-payment": {"outcome": None, "debited": "fred", "debit": -100}},
    ),
    "debited-though-declined": (
        payments(entry("bob", "debit", -50, 2, 50, f"'{DECLINED}'"), account("bob", 50, 2)),
        {"debit-of-payment": {"order_id": DECLINED, "outcome": "failed", "debits": 1}},
    ),
}

KINDS: Defects = {
    "debit-of-no-order": (
        payments(entry("fred", "debit", -100, 2, 400), account("fred", 400, 2)),
        {"entry-of-its-kind": {"user_id": "fred", "kind": "debit", "amount": -100}},
    ),
    "positive-debit": (
        payments(entry("fred", "debit", 100, 2, 600, "gen_random_uuid()"), account("fred", 600, 2)),
        {
            "entry-of-its-kind": {"user_id": "fred", "kind": "debit", "amount": 100},
            "debit-of-payment": {"debited": "fred", "debit": 100},
        },
    ),
    "top-up-of-an-order": (
        payments(of("ledger_entries", "fred", "order_id = gen_random_uuid()")),
        {"entry-of-its-kind": {"user_id": "fred", "kind": "top_up"}},
    ),
    "negative-top-up": (
        payments(entry("fred", "top_up", -100, 2, 400), account("fred", 400, 2)),
        {"entry-of-its-kind": {"user_id": "fred", "kind": "top_up", "amount": -100}},
    ),
    "empty-top-up": (
        payments(
            without("ledger_entries", "ledger_entries_amount_not_zero"),
            entry("fred", "top_up", 0, 2, 500),
            account("fred", 500, 2),
        ),
        {"entry-of-its-kind": {"user_id": "fred", "kind": "top_up", "amount": 0}},
    ),
    "unknown-kind": (
        payments(
            without("ledger_entries", "ledger_entries_kind_known"), of("ledger_entries", "fred", "kind = 'gift'")
        ),
        {"entry-of-its-kind": {"user_id": "fred", "kind": "gift"}},
    ),
}
