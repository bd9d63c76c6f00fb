"""Orders against payments, which live in two databases and so in two snapshots.

The snapshot of orders is taken first. A result is committed in payments before orders can learn of it, so
the payment of every final order is in the later snapshot: if it is missing, or says something else, that is
no matter of timing. An order, its user and its amount, and a payment, once decided, do not change either.

Two things may be mere timing, and only these are given the grace. A payment may be of an order that was
accepted after the snapshot of orders, and a result may still be on its way to an order that is NEW there. A
payment that was decided longer than the grace before the second snapshot is neither, provided that the two
snapshots lie closer together than the grace; they are milliseconds apart. Its age is measured by the clock of
its own database, so the clocks of the two need not agree.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import TypeAlias
from uuid import UUID

import msgspec
from sqlalchemy import text

from auditor.invariants import Finding, Invariant, Limits
from auditor.snapshot import AuditSnapshot

# Python compares UUIDs as PostgreSQL does, as 16 bytes from left to right.
ORDERS = text("SELECT id, user_id, amount, status, reason FROM orders ORDER BY id")

# A second payment of an order, if somebody dropped the key, is named by one-payment-per-order.
PAYMENTS = text("""
    SELECT DISTINCT ON (order_id) order_id, user_id, amount, outcome, reason,
           decided_at <= now() - make_interval(secs => :grace) AS settled_long_ago
    FROM payments ORDER BY order_id
""")

STATUS_IS_OUTCOME = Invariant(
    "status-is-outcome",
    "both",
    "An order is FINISHED exactly when its payment succeeded, CANCELLED exactly when it failed, and why it says.",
)
SAME_USER_AND_AMOUNT = Invariant(
    "same-user-and-amount", "both", "A payment is of the user and the amount of its order."
)
PAYMENT_OF_AN_ORDER = Invariant(
    "payment-of-an-order", "both", "A payment decided longer ago than the grace has an order."
)
RESULT_APPLIED = Invariant(
    "result-applied", "both", "An order whose payment was decided longer ago than the grace is no longer NEW."
)
STATUS_OF = {"succeeded": "FINISHED", "failed": "CANCELLED"}
AGREEMENT = (STATUS_IS_OUTCOME, SAME_USER_AND_AMOUNT, PAYMENT_OF_AN_ORDER, RESULT_APPLIED)


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


async def agreement(orders: AuditSnapshot, payments: AuditSnapshot, limits: Limits) -> list[Finding]:
    pairs = merge(_orders(orders), _payments(payments, limits))
    return await compare(pairs, limits.rows)


async def _orders(snapshot: AuditSnapshot) -> AsyncGenerator[OrderRow]:
    async for row in snapshot.stream(ORDERS, {}):
        yield OrderRow(*row)


async def _payments(snapshot: AuditSnapshot, limits: Limits) -> AsyncGenerator[PaymentRow]:
    async for row in snapshot.stream(PAYMENTS, {"grace": limits.grace}):
        yield PaymentRow(*row)


async def merge(orders: AsyncIterator[OrderRow], payments: AsyncIterator[PaymentRow]) -> AsyncGenerator[Pair]:
    """Every order with its payment; both must come in the order of their ids."""
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


async def compare(pairs: AsyncIterator[Pair], most: int) -> list[Finding]:
    looked_at = 0
    offenders = dict.fromkeys(AGREEMENT, 0)
    first: dict[Invariant, list[Pair]] = {invariant: [] for invariant in AGREEMENT}
    async for order, payment in pairs:
        looked_at += 1
        for invariant in broken(order, payment):
            offenders[invariant] += 1
            if offenders[invariant] <= most:
                first[invariant].append((order, payment))
    return [
        Finding(
            invariant,
            looked_at,
            offenders[invariant],
            [{"order": order, "payment": payment} for order, payment in first[invariant]],
        )
        for invariant in AGREEMENT
    ]


def broken(order: OrderRow | None, payment: PaymentRow | None) -> Iterator[Invariant]:
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
