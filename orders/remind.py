"""The reconciler: reminds payments of orders that are NEW for too long, by sending their order.created again.

That is harmless by design: an order decided before is told again and charged nothing. It heals what a
failover of the database or the broker lost. It ends after eleven hours: what was set aside as a dead letter
again and again is for a person to decide, and so is what somebody has discarded.
"""

from collections.abc import Callable

from prometheus_client import Counter, Gauge

from orders.messages import order_created
from shopkit.db.database import Database
from shopkit.messaging import journey, outbox
from shopkit.observability import tracing

REMINDER_BATCH_SIZE = 500
EVERY_SECONDS = 10.0

REMINDED = Counter("gozon_orders_reminded", "Orders whose order.created was sent again")

# A reminder behind events that do not leave would only make the queue longer. After the first minute the
# waits double up to an hour, so that payments that are away for long do not come back to a flood.
# Sixteen reminders take eleven hours.
REMIND = """
    WITH due AS (
        SELECT id FROM orders
        WHERE status = 'NEW' AND remind_at <= now()
            AND coalesce((SELECT created_at FROM outbox ORDER BY id LIMIT 1), now()) > now() - interval '30 seconds'
        ORDER BY remind_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE orders SET reminders = reminders + 1,
        remind_at = CASE WHEN reminders + 1 < 16
            THEN now() + least(power(2, least(reminders, 5) + 1), 60) * interval '1 minute' ELSE 'infinity' END
    FROM due WHERE orders.id = due.id
    RETURNING orders.id, user_id, amount, journey
"""

OVERDUE = (
    """
        SELECT count(*) FROM (
            SELECT FROM orders WHERE status = 'NEW' AND created_at < now() - interval '1 minute' LIMIT 100000
        ) AS overdue
    """,
    Gauge("gozon_orders_overdue", "Orders that are NEW for more than a minute, counted up to 100,000"),
)


class Reconciler:
    """One batch. `committed` wakes the relay."""

    def __init__(self, database: Database, committed: Callable[[], None]) -> None:
        self._database = database
        self._committed = committed

    async def __call__(self) -> bool:
        async with self._database.begin() as connection:
            due = await connection.fetch(REMIND, REMINDER_BATCH_SIZE)
            events = [
                order_created(row.id, row.user_id, row.amount, tracing.new(), list(journey.decode(row.journey)))
                for row in due
            ]
            await outbox.add(connection, events)
        if due:
            self._committed()
            REMINDED.inc(len(due))
        return len(due) == REMINDER_BATCH_SIZE
