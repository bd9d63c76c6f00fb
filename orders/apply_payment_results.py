"""Hop 7: a payment result sets the final status of its order and writes the status event, in one transaction."""

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias
from uuid import UUID

import structlog
from prometheus_client import Counter

from gozon.hops import UPDATED
from orders.messages import DecidedPayment, OrderStatus, PaymentEvent, status_changed
from shopkit.db.database import Connection, Database, Row
from shopkit.messaging import event_log, journey, outbox
from shopkit.messaging.consumer import Refused
from shopkit.messaging.events import Outgoing
from shopkit.messaging.journey import Hop
from shopkit.observability import tracing
from shopkit.observability.metrics import DUPLICATES

DECIDED = Counter("gozon_orders_decided", "Orders that reached a final status", ["status"])
CONTRADICTIONS = Counter("gozon_contradicting_results", "Payment results that disagree with their order")

# The orders are locked in the order of their ids, so that two replicas with overlapping batches cannot deadlock.
LOCK = "SELECT id FROM orders WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"

# A result without a journey leaves the journey of the order in place.
APPLY = """
    UPDATE orders SET status = result.status, reason = result.reason, version = version + 1, updated_at = now(),
        journey = coalesce(CAST(result.journey AS jsonb), orders.journey) || $7::jsonb
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[],
                $6::text[]) AS result (id, user_id, amount, status, reason, journey)
    WHERE orders.id = result.id AND orders.user_id = result.user_id AND orders.amount = result.amount
        AND orders.status = 'NEW'
    RETURNING orders.id, orders.user_id, orders.amount, description, orders.status, version, orders.reason,
        orders.journey
"""

ORDERS = "SELECT id, user_id, amount, status FROM orders WHERE id = ANY ($1::uuid[])"

# Order id, user id and amount. A result is applied only if all three agree with its order.
OrderIdentity: TypeAlias = tuple[UUID, str, int]
log = structlog.get_logger()


class ApplyResults:
    """Applies a batch of payment results. `on_committed` is called after the commit, to wake the relay.

    A result is applied only while its order is NEW. This makes the handler idempotent, so it needs no inbox.

    A result contradicts its order if there is no such order, if the order has another user or amount, or if the
    order has the other final status. Such a result is not applied. It is counted for an alarm and becomes a
    dead letter.
    """

    def __init__(self, database: Database, replica: str, on_committed: Callable[[], None]) -> None:
        self._database = database
        self._replica = replica
        self._on_committed = on_committed

    async def apply(self, events: Sequence[PaymentEvent]) -> None:
        """Raises Refused with the contradicting results, after the others are committed."""
        results = first_result_per_order(events)
        hop = journey.now(UPDATED, self._replica)
        async with self._database.begin() as connection:
            changed = await _apply(connection, list(results.values()), hop)
            status_events = [_event(order, results[_identity(order)], hops) for order, hops in changed.items()]
            await outbox.add(connection, status_events)
            contradictions = await _not_applied(connection, events, changed)
        self._on_committed()
        event_log.each(UPDATED, (event.event for event in status_events))
        for order in changed:
            DECIDED.labels(order.status).inc()
        _report([(events[index], reason) for index, reason in contradictions.items()], len(events) - len(changed))
        if contradictions:
            raise Refused(contradictions)


def first_result_per_order(events: Sequence[PaymentEvent]) -> dict[OrderIdentity, PaymentEvent]:
    """Returns the first result of each order, as APPLY must not contain an order twice.

    An `UPDATE ... FROM` with two rows for one order applies only one of them, and PostgreSQL does not define which.
    A result with a wrong user or amount has an identity of its own, so it never replaces the right result.
    """
    return {_identity(event.data): event for event in reversed(events)}


def _identity(order: OrderStatus | DecidedPayment) -> OrderIdentity:
    return order.order_id, order.user_id, order.amount


def _event(order: OrderStatus, result: PaymentEvent, hops: Sequence[Hop]) -> Outgoing:
    return status_changed(order, tracing.child("update", result.traceparent), hops)


async def _apply(
    connection: Connection, events: Sequence[PaymentEvent], hop: Hop
) -> dict[OrderStatus, Sequence[Hop]]:
    """Locks and updates the orders. Returns the orders that changed, each with its whole journey."""
    ids = [event.data.order_id for event in events]
    await connection.execute(LOCK, ids)
    rows = await connection.fetch(
        APPLY,
        ids,
        [event.data.user_id for event in events],
        [event.data.amount for event in events],
        [event.status for event in events],
        [event.data.reason for event in events],
        [journey.encode(*e.journey).decode() if e.journey else None for e in events],
        journey.encode(hop).decode(),
    )
    return {OrderStatus(*row[:-1]): journey.decode(row.journey) for row in rows}


async def _not_applied(
    connection: Connection, events: Sequence[PaymentEvent], changed: Collection[OrderStatus]
) -> dict[int, str]:
    """Returns the reason for each result that contradicts its order, by its position in `events`."""
    if len(changed) == len(events):
        return {}
    rows = await connection.fetch(ORDERS, [event.data.order_id for event in events])
    orders = {row.id: row for row in rows}
    reasons = (_contradiction(orders.get(event.data.order_id), event) for event in events)
    return {index: reason for index, reason in enumerate(reasons) if reason}


def _contradiction(order: Row | None, event: PaymentEvent) -> str | None:
    if order is None:
        return "there is no such order"
    if (order.id, order.user_id, order.amount) != _identity(event.data):
        return "the order has another user or amount"
    return None if order.status == event.status else f"the order is {order.status}"


def _report(contradictions: Sequence[tuple[PaymentEvent, str]], unapplied: int) -> None:
    """Counts and logs. `unapplied` is the number of results that changed no order; most are duplicates."""
    DUPLICATES.labels("payment-results").inc(unapplied - len(contradictions))
    for event, reason in contradictions:
        CONTRADICTIONS.inc()
        log.error(
            "payment result contradicts the order",
            order_id=str(event.data.order_id),
            event_id=str(event.id),
            trace_id=tracing.trace_id(event.traceparent or ""),
            result=event.type,
            reason=reason,
        )
