"""Defects of orders: status, version and reason contradict each other, or the order contradicts its payment."""

from tests.auditor.planting import (
    DECIDED_AN_HOUR_AGO,
    DECLINED,
    PAID,
    PAID_EXACTLY,
    WITHOUT_ACCOUNT,
    Defects,
    of,
    order,
    orders,
    pair,
    payments,
    without,
)

STATUSES: Defects = {
    "new-in-a-later-version": (
        orders(order("NEW", 2)),
        {"status-and-version": {"user_id": "zoe", "version": 2}},
    ),
    "new-with-a-reason": (
        orders(order("NEW", 1, "'no_account'")),
        {"status-and-version": {"user_id": "zoe", "reason": "no_account"}},
    ),
    "finished-in-the-first-version": (
        orders(of("orders", "ann", "version = 1")),
        {"status-and-version": {"id": PAID, "version": 1}},
    ),
    "cancelled-in-the-third-version": (
        orders(of("orders", "bob", "version = 3")),
        {"status-and-version": {"id": DECLINED, "version": 3}},
    ),
    "finished-with-a-reason": (
        orders(of("orders", "ann", "reason = 'no_account'")),
        {
            "status-and-version": {"id": PAID, "reason": "no_account"},
            "status-is-outcome": pair(PAID, order_reason="no_account"),
        },
    ),
    "cancelled-without-a-reason": (
        orders(of("orders", "bob", "reason = NULL")),
        {
            "status-and-version": {"id": DECLINED, "reason": None},
            "status-is-outcome": pair(DECLINED, order_reason=None),
        },
    ),
    "unknown-status": (
        orders(without("orders", "orders_status_known"), of("orders", "bob", "status = 'LOST'")),
        {
            "status-and-version": {"id": DECLINED, "status": "LOST"},
            "status-is-outcome": pair(DECLINED, order_status="LOST"),
        },
    ),
}

RECONCILIATION: Defects = {
    "finished-though-declined": (
        orders(of("orders", "bob", "status = 'FINISHED', reason = NULL")),
        {"status-is-outcome": pair(DECLINED, order_status="FINISHED", outcome="failed")},
    ),
    "cancelled-though-paid": (
        orders(of("orders", "eve", "status = 'CANCELLED', reason = 'no_account'")),
        {"status-is-outcome": pair(PAID_EXACTLY, order_status="CANCELLED", outcome="succeeded")},
    ),
    "cancelled-for-another-reason": (
        orders(of("orders", "bob", "reason = 'no_account'")),
        {"status-is-outcome": pair(DECLINED, order_reason="no_account", reason="insufficient_funds")},
    ),
    "final-without-a-payment": (
        payments("DELETE FROM payments WHERE user_id = 'carol'"),
        {"status-is-outcome": {"order": {"id": WITHOUT_ACCOUNT, "status": "CANCELLED"}, "payment": None}},
    ),
    "inserted-as-final-without-a-payment": (
        orders(order("FINISHED", 2)),
        {"status-is-outcome": {"order": {"user_id": "zoe", "status": "FINISHED"}, "payment": None}},
    ),
    "payment-of-another-user": (
        orders(of("orders", "ann", "user_id = 'fred'")),
        {"same-user-and-amount": pair(PAID, order_user_id="fred", user_id="ann")},
    ),
    "payment-of-another-amount": (
        orders(of("orders", "ann", "amount = 201")),
        {"same-user-and-amount": pair(PAID, order_amount=201, amount=200)},
    ),
    "payment-of-no-order": (
        orders("DELETE FROM orders WHERE user_id = 'carol'") + payments(DECIDED_AN_HOUR_AGO),
        {"payment-of-an-order": {"order": None, "payment": {"order_id": WITHOUT_ACCOUNT}}},
    ),
    "last-payment-of-no-order": (
        orders("DELETE FROM orders WHERE user_id = 'eve'") + payments(DECIDED_AN_HOUR_AGO),
        {"payment-of-an-order": {"order": None, "payment": {"order_id": PAID_EXACTLY}}},
    ),
    "decided-long-ago-and-still-new": (
        orders(of("orders", "carol", "status = 'NEW', version = 1, reason = NULL, created_at = now()"))
        + payments(DECIDED_AN_HOUR_AGO),
        {"result-applied": pair(WITHOUT_ACCOUNT, order_status="NEW")},
    ),
}
