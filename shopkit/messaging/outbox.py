"""The outbox: an event is written in the transaction of the change it tells of, and leaves with the relay."""

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

# The subquery decides which rows before the delete takes them; SKIP LOCKED lets any number of relays run.
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
    Gauge("gozon_outbox_oldest_seconds", "Age of the oldest event in the outbox; 0 without one"),
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
    """Writes `events` to the outbox in the caller's transaction."""
    # One place inserts outbox rows without this function: the statement PLACE in `orders/place_order.py` inserts
    # the event of a new order together with the order, to save a round trip.
    if events:
        await connection.execute(
            INSERT,
            [event.event_id for event in events],
            [event.routing_key for event in events],
            [event.event for event in events],
        )


async def take(connection: Connection, limit: int, mark: LowWaterMark) -> list[Outgoing]:
    """Deletes the oldest rows after the mark that no other relay holds, and returns their events.

    A rollback brings the rows back. After the commit, the caller calls `mark.committed`.
    """
    return [Outgoing(*row[1:]) for row in await mark.fetch(connection, TAKE, limit)]
