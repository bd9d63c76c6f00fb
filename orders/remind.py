"""The reconciler: if an order stays NEW for too long, it publishes the order's order.created again.

This repairs the loss of a message in a failover of the database or the broker. A repeated event is harmless: if
payments has decided the order before, it publishes the same result again and charges nothing.

The reminders end after eleven hours. If an order is still NEW then, its event has probably become a dead letter
again and again, or an operator has discarded the dead letter. An operator must decide what happens next.
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

# If the oldest event has waited in the outbox for 30 seconds, the relay does not publish. A reminder would only
# make the outbox longer, so none is sent.
# The waits between reminders double from a minute to an hour. So there is no flood of reminders when payments was
# unavailable for long. Sixteen reminders take eleven hours.
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
    """Sends one batch of due reminders per call. `on_committed` is called after the commit, to wake the relay."""

    def __init__(self, database: Database, on_committed: Callable[[], None]) -> None:
        self._database = database
        self._on_committed = on_committed

    async def remind(self) -> bool:
        """Returns whether the batch was full, so that more reminders may be due."""
        async with self._database.begin() as connection:
            due = await connection.fetch(REMIND, REMINDER_BATCH_SIZE)
            events = [
                order_created(row.id, row.user_id, row.amount, tracing.new(), list(journey.decode(row.journey)))
                for row in due
            ]
            await outbox.add(connection, events)
        if due:
            self._on_committed()
            REMINDED.inc(len(due))
        return len(due) == REMINDER_BATCH_SIZE
