"""Hop 7: a payment result makes its order FINISHED or CANCELLED, with the status event in one transaction."""

from collections.abc import Callable, Sequence

import structlog
from prometheus_client import Counter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.messages import OrderStatus, PaymentEvent, status_changed
from shopkit import outbox
from shopkit.db import Database
from shopkit.telemetry import DUPLICATES

DECIDED = Counter("gozon_orders_decided", "Orders that reached a final status", ["status"])
CONTRADICTIONS = Counter("gozon_contradicting_results", "Payment results that contradict a final status")

# Locked in the order of their ids, so that two replicas with overlapping batches cannot deadlock.
LOCK = text("SELECT id FROM orders WHERE id = ANY (CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE")

APPLY = text("""
    UPDATE orders SET status = result.status, reason = result.reason, version = version + 1, updated_at = now()
    FROM unnest(CAST(:ids AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]))
        AS result (id, status, reason)
    WHERE orders.id = result.id AND orders.status = 'NEW'
    RETURNING orders.id, user_id, amount, description, orders.status, version, orders.reason
""")

STATUSES = text("SELECT id, status FROM orders WHERE id = ANY (CAST(:ids AS uuid[]))")

log = structlog.get_logger()


class ApplyResults:
    """Handles a batch of payment results. `committed` wakes the relay.

    The guard `status = 'NEW'` makes it idempotent, so it needs no inbox. A result that contradicts a final
    status is an alarm and is never applied.
    """

    def __init__(self, database: Database, committed: Callable[[], None]) -> None:
        self._database = database
        self._committed = committed

    async def __call__(self, events: Sequence[PaymentEvent]) -> None:
        first = first_of_each_order(events)
        async with self._database.begin() as connection:
            changed = await _apply(connection, first)
            await outbox.add(connection, [status_changed(order) for order in changed])
            ignored = await _not_applied(connection, events, changed)
        self._committed()
        for order in changed:
            DECIDED.labels(order.status).inc()
        _report(ignored, len(events) - len(changed))


def first_of_each_order(events: Sequence[PaymentEvent]) -> list[PaymentEvent]:
    """An `UPDATE ... FROM` with one order twice applies one of the two, and it does not say which."""
    return list({event.data.order_id: event for event in reversed(events)}.values())


async def _apply(connection: AsyncConnection, events: Sequence[PaymentEvent]) -> list[OrderStatus]:
    ids = [event.data.order_id for event in events]
    await connection.execute(LOCK, {"ids": ids})
    rows = await connection.execute(
        APPLY,
        {
            "ids": ids,
            "statuses": [event.status for event in events],
            "reasons": [event.data.reason for event in events],
        },
    )
    return [OrderStatus(*row) for row in rows]


async def _not_applied(
    connection: AsyncConnection, events: Sequence[PaymentEvent], changed: Sequence[OrderStatus]
) -> list[PaymentEvent]:
    """The results that say something else than the order's final status, or speak of no order of ours."""
    if len(changed) == len(events):
        return []
    rows = await connection.execute(STATUSES, {"ids": [event.data.order_id for event in events]})
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
            result=event.type,
        )
