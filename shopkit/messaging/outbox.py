"""The transactional outbox: an event is a row that commits in the same transaction as the change it reports.

PostgreSQL and RabbitMQ share no transaction. So a service never publishes directly: it adds the event to the table
`outbox` and wakes the relay after the commit. The change and its event are stored both or not at all. The relay
deletes a row only after the broker has confirmed the event (docs/adr/0001-outbox-with-a-polling-relay.md).
"""

from collections.abc import Sequence

from prometheus_client import Gauge
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
)

from shopkit.db.database import Connection
from shopkit.messaging.events import Outgoing
from shopkit.messaging.low_water_mark import LowWaterMark

INSERT = """
    INSERT INTO outbox (event_id, routing_key, event)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[])
"""

# The subquery locks the oldest rows first, and the DELETE then removes exactly these. SKIP LOCKED lets any number
# of relays run side by side: each takes other rows, and none waits.
TAKE = """
    DELETE FROM outbox
    WHERE id = ANY (ARRAY(SELECT id FROM outbox WHERE id > $2 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING id, event_id, routing_key, event
"""

BACKLOG = (
    """
        SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT 100000) AS waiting),
            coalesce(extract(epoch FROM now() - (SELECT created_at FROM outbox ORDER BY id LIMIT 1)), 0)
    """,
    Gauge("gozon_outbox_waiting", "Events in the outbox, counted up to 100,000"),
    Gauge("gozon_outbox_oldest_seconds", "Age of the oldest event in the outbox; 0 if it is empty"),
)


def table(metadata: MetaData) -> Table:
    return Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", Uuid, nullable=False),
        Column("routing_key", Text, nullable=False),
        Column("event", LargeBinary, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


async def add(connection: Connection, events: Sequence[Outgoing]) -> None:
    """Writes events in the transaction of `connection`. The caller must wake the relay after the commit.

    orders/place_order.py writes its outbox rows without this function, in the SQL statement that inserts the
    orders.
    """
    if events:
        await connection.execute(
            INSERT,
            [event.event_id for event in events],
            [event.routing_key for event in events],
            [event.event for event in events],
        )


async def take(connection: Connection, limit: int, mark: LowWaterMark) -> list[Outgoing]:
    """Deletes the oldest rows after the mark that no other relay has locked, and returns their events.

    A rollback restores the rows. After the commit, the caller must call `mark.on_committed`.
    """
    return [Outgoing(*row[1:]) for row in await mark.fetch(connection, TAKE, limit)]
