"""Hop 7: a payment result makes its order FINISHED or CANCELLED, with the status event in one transaction."""

from collections.abc import Callable, Collection, Sequence
from uuid import UUID

import structlog
from prometheus_client import Counter

from orders.messages import OrderStatus, PaymentEvent, status_changed
from shopkit import event_log, journey, outbox, tracing
from shopkit.db import Connection, Database
from shopkit.events import Outgoing
from shopkit.journey import UPDATED, Hop
from shopkit.telemetry import DUPLICATES

DECIDED = Counter("gozon_orders_decided", "Orders that reached a final status", ["status"])
CONTRADICTIONS = Counter("gozon_contradicting_results", "Payment results that contradict a final status")

# Locked in the order of their ids, so that two replicas with overlapping batches cannot deadlock.
LOCK = "SELECT id FROM orders WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"

# A result without a journey keeps the order's own.
APPLY = """
    UPDATE orders SET status = result.status, reason = result.reason, version = version + 1, updated_at = now(),
        journey = coalesce(CAST(result.journey AS jsonb), orders.journey) || $5::jsonb
    FROM unnest($1::uuid[], $2::text[], $3::text[],
                $4::text[]) AS result (id, status, reason, journey)
    WHERE orders.id = result.id AND orders.status = 'NEW'
    RETURNING orders.id, user_id, amount, description, orders.status, version, orders.reason, orders.journey
"""

STATUSES = "SELECT id, status FROM orders WHERE id = ANY ($1::uuid[])"

log = structlog.get_logger()


class ApplyResults:
    """Handles a batch of payment results on `replica`. `committed` wakes the relay.

    The guard `status = 'NEW'` makes it idempotent, so it needs no inbox. A result that contradicts a final
    status is an alarm and is never applied.
    """

    def __init__(self, database: Database, replica: str, committed: Callable[[], None]) -> None:
        self._database = database
        self._replica = replica
        self._committed = committed

    async def __call__(self, events: Sequence[PaymentEvent]) -> None:
        first = first_of_each_order(events)
        hop = journey.now(UPDATED, self._replica)
        async with self._database.begin() as connection:
            changed = await _apply(connection, list(first.values()), hop)
            told = [_status_changed(order, first[order.order_id], hops) for order, hops in changed.items()]
            await outbox.add(connection, told)
            ignored = await _not_applied(connection, events, changed)
        self._committed()
        event_log.each(UPDATED, (event.event for event in told))
        for order in changed:
            DECIDED.labels(order.status).inc()
        _report(ignored, len(events) - len(changed))


def first_of_each_order(events: Sequence[PaymentEvent]) -> dict[UUID, PaymentEvent]:
    """An `UPDATE ... FROM` with one order twice applies one of the two, and it does not say which."""
    return {event.data.order_id: event for event in reversed(events)}


def _status_changed(order: OrderStatus, result: PaymentEvent, hops: Sequence[Hop]) -> Outgoing:
    return status_changed(order, tracing.child("update", result.traceparent), hops)


async def _apply(
    connection: Connection, events: Sequence[PaymentEvent], hop: Hop
) -> dict[OrderStatus, Sequence[Hop]]:
    """The orders that changed, each with its whole journey."""
    ids = [event.data.order_id for event in events]
    await connection.execute(LOCK, ids)
    rows = await connection.fetch(
        APPLY,
        ids,
        [event.status for event in events],
        [event.data.reason for event in events],
        [journey.encode(*e.journey).decode() if e.journey else None for e in events],
        journey.encode(hop).decode(),
    )
    return {OrderStatus(*row[:-1]): journey.decode(row.journey) for row in rows}


async def _not_applied(
    connection: Connection, events: Sequence[PaymentEvent], changed: Collection[OrderStatus]
) -> list[PaymentEvent]:
    """The results that say something else than the order's final status, or speak of no order of ours."""
    if len(changed) == len(events):
        return []
    rows = await connection.fetch(STATUSES, [event.data.order_id for event in events])
    final = {row.id: row.status for row in rows}
    return [event for event in events if final.get(event.data.order_id) != event.status]


def _report(contradictions: Sequence[PaymentEvent], not_changing: int) -> None:
    DUPLICATES.labels("payment-results").inc(not_changing - len(contradictions))
    for event in contradictions:
        CONTRADICTIONS.inc()
        log.error(
            "payment result contradicts the order",
            order_id=str(event.data.order_id),
            event_id=str(event.id),
            trace_id=tracing.trace_id(event.traceparent or ""),
            result=event.type,
        )
