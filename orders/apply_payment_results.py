"""Hop 7: a payment result makes its order FINISHED or CANCELLED, with the status event in one transaction."""

from collections.abc import Callable, Collection, Mapping, Sequence
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

# Locked in the order of their ids, so that two replicas with overlapping batches cannot deadlock.
LOCK = "SELECT id FROM orders WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"

# A result without a journey keeps the order's own.
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

Subject: TypeAlias = tuple[UUID, str, int]
log = structlog.get_logger()


class ApplyResults:
    """Handles a batch of payment results on `replica`. `committed` wakes the relay.

    The guard `status = 'NEW'` makes it idempotent, so it needs no inbox. A result is never applied when it names
    no order, another user or amount than its order, or another final status. It is an alarm and a dead letter.
    """

    def __init__(self, database: Database, replica: str, committed: Callable[[], None]) -> None:
        self._database = database
        self._replica = replica
        self._committed = committed

    async def __call__(self, events: Sequence[PaymentEvent]) -> None:
        first = first_of_each(events)
        hop = journey.now(UPDATED, self._replica)
        async with self._database.begin() as connection:
            changed = await _apply(connection, list(first.values()), hop)
            told = [_status_changed(order, first[_subject(order)], hops) for order, hops in changed.items()]
            await outbox.add(connection, told)
            refused = await _not_applied(connection, events, changed)
        self._committed()
        event_log.each(UPDATED, (event.event for event in told))
        for order in changed:
            DECIDED.labels(order.status).inc()
        _report({events[index]: reason for index, reason in refused.items()}, len(events) - len(changed))
        if refused:
            raise Refused(refused)


def first_of_each(events: Sequence[PaymentEvent]) -> dict[Subject, PaymentEvent]:
    """An `UPDATE ... FROM` with one order twice applies one of the two, and it does not say which.

    A result with another user or amount matches no order, and does not displace the right one.
    """
    return {_subject(event.data): event for event in reversed(events)}


def _subject(of: OrderStatus | DecidedPayment) -> Subject:
    return of.order_id, of.user_id, of.amount


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
    """Returns the results that disagree with their order, by their position in `events`, with the reason."""
    if len(changed) == len(events):
        return {}
    rows = await connection.fetch(ORDERS, [event.data.order_id for event in events])
    orders = {row.id: row for row in rows}
    found = (_disagreement(orders.get(event.data.order_id), event) for event in events)
    return {index: reason for index, reason in enumerate(found) if reason}


def _disagreement(order: Row | None, event: PaymentEvent) -> str | None:
    if order is None:
        return "there is no such order"
    if (order.id, order.user_id, order.amount) != _subject(event.data):
        return "the order has another user or amount"
    return None if order.status == event.status else f"the order is {order.status}"


def _report(refused: Mapping[PaymentEvent, str], not_changing: int) -> None:
    DUPLICATES.labels("payment-results").inc(not_changing - len(refused))
    for event, reason in refused.items():
        CONTRADICTIONS.inc()
        log.error(
            "payment result contradicts the order",
            order_id=str(event.data.order_id),
            event_id=str(event.id),
            trace_id=tracing.trace_id(event.traceparent or ""),
            result=event.type,
            reason=reason,
        )
