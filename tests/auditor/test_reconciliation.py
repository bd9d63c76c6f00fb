from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from auditor.invariants import Invariant
from auditor.reconciliation import (
    PAYMENT_OF_AN_ORDER,
    RECONCILIATION,
    RESULT_APPLIED,
    SAME_USER_AND_AMOUNT,
    STATUS_IS_OUTCOME,
    OrderRow,
    Pair,
    PaymentRow,
    compare,
    merge,
)

T = TypeVar("T")

# There are few values of each kind, so that orders and payments often have the same ids and often agree.
ids = st.sampled_from([UUID(int=high << 120 | low) for high in (0, 0x7F, 0x80, 0xFF) for low in range(4)])
users = st.sampled_from(["ann", "bob"])
amounts = st.integers(1, 2)
reasons = st.sampled_from([None, "no_account", "insufficient_funds"])
orders = st.builds(OrderRow, ids, users, amounts, st.sampled_from(["NEW", "FINISHED", "CANCELLED"]), reasons)
payments = st.builds(
    PaymentRow, ids, users, amounts, st.sampled_from(["succeeded", "failed"]), reasons, st.booleans()
)


async def stream(items: Iterable[T]) -> AsyncGenerator[T]:
    for item in items:
        yield item


def merged(orders: Iterable[OrderRow], payments: Iterable[PaymentRow]) -> AsyncGenerator[Pair]:
    return merge(
        stream(sorted(orders, key=lambda order: order.id)),
        stream(sorted(payments, key=lambda payment: payment.order_id)),
    )


@given(st.lists(orders, unique_by=lambda o: o.id), st.lists(payments, unique_by=lambda p: p.order_id))
async def test_merge_yields_every_order_and_payment_once_and_paired_by_id(
    orders: list[OrderRow], payments: list[PaymentRow]
) -> None:
    order_of = {order.id: order for order in orders}
    payment_of = {payment.order_id: payment for payment in payments}
    known = sorted(order_of.keys() | payment_of.keys())
    assert [pair async for pair in merged(orders, payments)] == [
        (order_of.get(id_), payment_of.get(id_)) for id_ in known
    ]


def model(order: OrderRow | None, payment: PaymentRow | None) -> set[Invariant]:
    """Returns the violated invariants, each evaluated by itself as it is stated."""
    late = payment is not None and payment.settled_long_ago
    final = order is not None and order.status != "NEW"
    matching = {("FINISHED", "succeeded"), ("CANCELLED", "failed")}
    holds = {
        PAYMENT_OF_AN_ORDER: order is not None or not late,
        RESULT_APPLIED: order is None or final or not late,
        SAME_USER_AND_AMOUNT: order is None
        or payment is None
        or (order.user_id == payment.user_id and order.amount == payment.amount),
        STATUS_IS_OUTCOME: order is None
        or not final
        or (payment is not None and (order.status, payment.outcome) in matching and order.reason == payment.reason),
    }
    return {invariant for invariant, is_satisfied in holds.items() if not is_satisfied}


@given(st.lists(st.tuples(orders, payments), max_size=8), st.integers(0, 3))
async def test_the_findings_agree_with_a_direct_reading_of_each_invariant(
    generated: list[tuple[OrderRow, PaymentRow]], rows_limit: int
) -> None:
    pairs: list[Pair] = [
        pair for order, payment in generated for pair in ((order, payment), (order, None), (None, payment))
    ]
    expected = Counter(invariant for pair in pairs for invariant in model(*pair))
    findings = await compare(stream(pairs), rows_limit)
    assert [finding.invariant for finding in findings] == list(RECONCILIATION)
    for finding in findings:
        offending: list[dict[str, Any]] = [
            {"order": order, "payment": payment}
            for order, payment in pairs
            if finding.invariant in model(order, payment)
        ]
        assert (finding.looked_at, finding.offenders) == (len(pairs), expected[finding.invariant])
        assert finding.rows == offending[:rows_limit]
