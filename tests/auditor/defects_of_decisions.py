"""Defects of payment decisions: the account before the decision does not justify it."""

from tests.auditor.planting import (
    DECLINED,
    PAID,
    WITHOUT_ACCOUNT,
    WITHOUT_MONEY,
    Defects,
    account,
    of,
    orders,
    pair,
    payments,
    without,
)

OUTCOMES: Defects = {
    "unknown-reason": (
        payments(of("payments", "bob", "reason = 'mood'")) + orders(of("orders", "bob", "reason = 'mood'")),
        {"known-outcome": {"order_id": DECLINED, "reason": "mood"}},
    ),
    "failed-without-a-reason": (
        payments(of("payments", "bob", "reason = NULL")),
        {
            "known-outcome": {"order_id": DECLINED, "reason": None},
            "status-is-outcome": pair(DECLINED, reason=None),
        },
    ),
    "succeeded-with-a-reason": (
        payments(of("payments", "ann", "reason = 'mood'")),
        {
            "known-outcome": {"order_id": PAID, "outcome": "succeeded", "reason": "mood"},
            "status-is-outcome": pair(PAID, reason="mood"),
        },
    ),
    "unknown-outcome": (
        payments(without("payments", "payments_outcome_known"), of("payments", "bob", "outcome = 'maybe'")),
        {
            "known-outcome": {"order_id": DECLINED, "outcome": "maybe"},
            "debit-of-payment": {"order_id": DECLINED, "outcome": "maybe"},
            "status-is-outcome": pair(DECLINED, outcome="maybe"),
        },
    ),
}

PAID_WITHOUT_GROUND: Defects = {
    "overdraft": (
        orders(of("orders", "ann", "amount = 600"))
        + payments(
            without("accounts", "accounts_balance_not_negative"),
            without("ledger_entries", "ledger_entries_balance_not_negative"),
            of("payments", "ann", "amount = 600"),
            "UPDATE ledger_entries SET amount = -600, balance_after = -100 WHERE amount = -200",
            account("ann", -100, 2),
        ),
        {
            "paid-from-balance": {"order_id": PAID, "amount": 600, "balance_before": 500},
            "no-negative-balance": {"user_id": "ann", "balance": -100},
        },
    ),
    "paid-at-another-version": (
        payments(of("payments", "ann", "account_version = 0")),
        {"paid-from-balance": {"order_id": PAID, "account_version": 0, "debit_version": 2}},
    ),
    "paid-from-another-balance": (
        payments(of("payments", "ann", "balance_before = 501")),
        {"paid-from-balance": {"order_id": PAID, "balance_before": 501, "balance_after": 300}},
    ),
    "paid-from-no-balance": (
        payments(of("payments", "ann", "balance_before = NULL, account_version = NULL")),
        {"paid-from-balance": {"order_id": PAID, "balance_before": None}},
    ),
}

DECLINED_WITHOUT_GROUND: Defects = {
    "declined-with-enough": (
        payments(of("payments", "bob", "amount = 100")) + orders(of("orders", "bob", "amount = 100")),
        {"declined-for-lack-of-funds": {"order_id": DECLINED, "amount": 100, "balance_before": 100}},
    ),
    "declined-at-another-balance": (
        payments(of("payments", "bob", "balance_before = 99")),
        {"declined-for-lack-of-funds": {"order_id": DECLINED, "balance_before": 99, "balance_in_ledger": 100}},
    ),
    "declined-at-a-missing-version": (
        payments(of("payments", "bob", "account_version = 2")),
        {"declined-for-lack-of-funds": {"order_id": DECLINED, "balance_in_ledger": None}},
    ),
    "declined-with-money-at-the-opening": (
        payments(of("payments", "dora", "balance_before = 1, amount = 2"))
        + orders(of("orders", "dora", "amount = 2")),
        {"declined-for-lack-of-funds": {"order_id": WITHOUT_MONEY, "balance_in_ledger": 0}},
    ),
    "declined-and-the-account-was-deleted": (
        payments("DELETE FROM accounts WHERE user_id = 'dora'"),
        {"declined-for-lack-of-funds": {"order_id": WITHOUT_MONEY, "balance_in_ledger": None}},
    ),
    "declined-without-an-account-version": (
        payments(of("payments", "bob", "account_version = NULL, balance_before = NULL")),
        {"declined-for-lack-of-funds": {"order_id": DECLINED, "balance_before": None}},
    ),
    "declined-though-there-was-an-account": (
        payments("INSERT INTO accounts SELECT 'carol', 0, 0, min(decided_at) - interval '3 seconds' FROM payments"),
        {"declined-without-account": {"order_id": WITHOUT_ACCOUNT}},
    ),
    "declined-without-account-at-a-version": (
        payments(of("payments", "carol", "account_version = 0")),
        {"declined-without-account": {"order_id": WITHOUT_ACCOUNT, "account_version": 0}},
    ),
    "declined-without-account-at-a-balance": (
        payments(of("payments", "carol", "balance_before = 0")),
        {"declined-without-account": {"order_id": WITHOUT_ACCOUNT, "balance_before": 0}},
    ),
}
