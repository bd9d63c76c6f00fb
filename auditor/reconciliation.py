"""Reconciliation: compares orders with payments. They are in two databases, so in two snapshots.

The snapshot of orders is taken first. Payments commits a result before orders can receive it. So the snapshot of
payments, the later one, has the payment of every final order. If that payment is missing or different, the cause is
an error and not the timing of the snapshots. The user and amount of an order never change, nor does a payment.

Only two differences can be caused by timing:

- A payment without an order: the order was accepted after the snapshot of orders.
- A NEW order with a payment: the result is still on its way to orders.

Both are reported only if the payment was decided longer ago than the grace period. The two snapshots must be closer
together than the grace period; they are milliseconds apart. The age of a payment is measured by the clock of its
own database, so the two clocks need not agree.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import TypeAlias
from uuid import UUID

import msgspec
from sqlalchemy import text

from auditor.invariants import Finding, Invariant, Limits
from auditor.snapshot import AuditSnapshot

# `merge` relies on this order: Python compares UUIDs as PostgreSQL does, as 16 bytes from left to right.
ORDERS = text("SELECT id, user_id, amount, status, reason FROM orders ORDER BY id")

# An order can only have a second payment if the primary key was dropped. one-payment-per-order reports it.
PAYMENTS = text("""
    SELECT DISTINCT ON (order_id) order_id, user_id, amount, outcome, reason,
           decided_at <= now() - make_interval(secs => :grace) AS settled_long_ago
    FROM payments ORDER BY order_id
""")

STATUS_IS_OUTCOME = Invariant(
    "status-is-outcome",
    "both",
    "An order is FINISHED if its payment succeeded, and CANCELLED with the same reason if its payment failed.",
)
SAME_USER_AND_AMOUNT = Invariant(
    "same-user-and-amount", "both", "A payment has the user and the amount of its order."
)
PAYMENT_OF_AN_ORDER = Invariant(
    "payment-of-an-order", "both", "A payment decided longer ago than the grace period has an order."
)
RESULT_APPLIED = Invariant(
    "result-applied", "both", "An order whose payment was decided longer ago than the grace period is not NEW."
)
STATUS_OF = {"succeeded": "FINISHED", "failed": "CANCELLED"}
RECONCILIATION = (STATUS_IS_OUTCOME, SAME_USER_AND_AMOUNT, PAYMENT_OF_AN_ORDER, RESULT_APPLIED)


class OrderRow(msgspec.Struct, frozen=True):
    id: UUID
    user_id: str
    amount: int
    status: str
    reason: str | None


class PaymentRow(msgspec.Struct, frozen=True):
    order_id: UUID
    user_id: str
    amount: int
    outcome: str
    reason: str | None
    settled_long_ago: bool


Pair: TypeAlias = tuple[OrderRow | None, PaymentRow | None]


async def reconcile(orders: AuditSnapshot, payments: AuditSnapshot, limits: Limits) -> list[Finding]:
    """Returns one finding per invariant of RECONCILIATION."""
    pairs = merge(_orders(orders), _payments(payments, limits))
    return await compare(pairs, limits.rows)


async def _orders(snapshot: AuditSnapshot) -> AsyncGenerator[OrderRow]:
    async for row in snapshot.stream(ORDERS, {}):
        yield OrderRow(*row)


async def _payments(snapshot: AuditSnapshot, limits: Limits) -> AsyncGenerator[PaymentRow]:
    async for row in snapshot.stream(PAYMENTS, {"grace": limits.grace}):
        yield PaymentRow(*row)


async def merge(orders: AsyncIterator[OrderRow], payments: AsyncIterator[PaymentRow]) -> AsyncGenerator[Pair]:
    """Yields each order with its payment, or None for a missing one. Both inputs must be sorted by order id."""
    order, payment = await anext(orders, None), await anext(payments, None)
    while order is not None or payment is not None:
        if payment is None or (order is not None and order.id < payment.order_id):
            yield order, None
            order = await anext(orders, None)
        elif order is None or payment.order_id < order.id:
            yield None, payment
            payment = await anext(payments, None)
        else:
            yield order, payment
            order, payment = await anext(orders, None), await anext(payments, None)


async def compare(pairs: AsyncIterator[Pair], rows_limit: int) -> list[Finding]:
    """Returns one finding per invariant, each with at most `rows_limit` offending pairs."""
    looked_at = 0
    offenders = dict.fromkeys(RECONCILIATION, 0)
    first: dict[Invariant, list[Pair]] = {invariant: [] for invariant in RECONCILIATION}
    async for order, payment in pairs:
        looked_at += 1
        for invariant in broken(order, payment):
            offenders[invariant] += 1
            if offenders[invariant] <= rows_limit:
                first[invariant].append((order, payment))
    return [
        Finding(
            invariant,
            looked_at,
            offenders[invariant],
            [{"order": order, "payment": payment} for order, payment in first[invariant]],
        )
        for invariant in RECONCILIATION
    ]


def broken(order: OrderRow | None, payment: PaymentRow | None) -> Iterator[Invariant]:
    """Yields the invariants that this order and payment violate."""
    if payment is None:
        if order is not None and order.status != "NEW":
            yield STATUS_IS_OUTCOME
    elif order is None:
        if payment.settled_long_ago:
            yield PAYMENT_OF_AN_ORDER
    else:
        if (order.user_id, order.amount) != (payment.user_id, payment.amount):
            yield SAME_USER_AND_AMOUNT
        if order.status == "NEW":
            if payment.settled_long_ago:
                yield RESULT_APPLIED
        elif (order.status, order.reason) != (STATUS_OF.get(payment.outcome), payment.reason):
            yield STATUS_IS_OUTCOME
