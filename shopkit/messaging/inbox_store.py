"""What is in an inbox: its tables, and every statement on them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from prometheus_client import Gauge
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
)

from shopkit.db.database import Connection, Row
from shopkit.messaging import crash_guard
from shopkit.messaging.low_water_mark import LowWaterMark

# Seconds.
LONGEST_WAIT = 300.0

# In the order of their ids, which is that of their writing, so that two replicas that are given the same
# events cannot deadlock.
STORE = """
    INSERT INTO inbox (event_id, type, event, received_by)
    SELECT *, $4::text
    FROM unnest($1::uuid[], $2::text[], $3::bytea[])
        AS given (event_id, type, event)
    ORDER BY event_id
    ON CONFLICT (event_id) DO NOTHING
"""

CLAIM = """
    SELECT seq, event_id, type, event, received_at, received_by FROM inbox
    WHERE seq > $2
        AND processed_at IS NULL AND lonely_crashes IS NULL AND (not_before IS NULL OR not_before <= now())
    ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED
"""

# Those that crashed least come first, so that no innocent waits until a culprit has crashed to the end.
CLAIM_SUSPECT = """
    SELECT event_id, type, event, received_at, received_by FROM inbox
    WHERE processed_at IS NULL AND lonely_crashes IS NOT NULL AND (not_before IS NULL OR not_before <= now())
    ORDER BY lonely_crashes, seq LIMIT 1 FOR UPDATE SKIP LOCKED
"""

CLAIM_AMONG = """
    SELECT event_id, type, event, received_at, received_by FROM inbox
    WHERE processed_at IS NULL AND lonely_crashes IS NULL AND event_id = ANY ($1::uuid[])
    ORDER BY seq FOR UPDATE SKIP LOCKED
"""

MARK = "UPDATE inbox SET processed_at = now() WHERE event_id = ANY ($1::uuid[])"

FAILED = """
    UPDATE inbox SET attempts = attempts + 1, last_error = $2,
        not_before = now() + make_interval(secs => $3 * least(power(2, attempts), $4))
    WHERE event_id = $1 AND processed_at IS NULL
    RETURNING attempts
"""

PARK = """
    WITH parked AS (
        UPDATE inbox SET processed_at = now() WHERE event_id = $1 AND processed_at IS NULL
        RETURNING event_id, type, event, attempts
    )
    INSERT INTO dead_letters (event_id, type, event, attempts, error)
    SELECT event_id, type, event, attempts, $2 FROM parked
"""

BACKLOG = (
    """
        SELECT (SELECT count(*) FROM (SELECT FROM inbox WHERE processed_at IS NULL LIMIT 100000) AS waiting),
            coalesce(extract(epoch FROM now() - (
                SELECT received_at FROM inbox WHERE processed_at IS NULL ORDER BY seq LIMIT 1)), 0)
    """,
    Gauge("gozon_inbox_waiting", "Events in the inbox that are not processed, counted up to 100,000"),
    Gauge("gozon_inbox_oldest_seconds", "Age of the oldest of them; 0 without one"),
)

PARKED = (
    "SELECT count(*) FROM (SELECT FROM dead_letters WHERE resolved_at IS NULL LIMIT 100000) AS unresolved",
    Gauge("gozon_parked_events", "Dead letters in the database that are not resolved, counted up to 100,000"),
)


class ReceivedEvent(msgspec.Struct, frozen=True):
    event_id: UUID
    type: str
    event: bytes


class WaitingEvent(ReceivedEvent, frozen=True):
    """An event in the inbox; `received_by` is the replica that stored it."""

    received_at: datetime
    received_by: str


def tables(metadata: MetaData) -> tuple[Table, Table]:
    inbox = Table(
        "inbox",
        metadata,
        Column("event_id", Uuid, primary_key=True),
        Column("seq", BigInteger, Identity(always=True), nullable=False),
        Column("type", Text, nullable=False),
        Column("event", LargeBinary, nullable=False),
        Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("processed_at", DateTime(timezone=True)),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("not_before", DateTime(timezone=True)),
        Column("last_error", Text),
        Column("received_by", Text, nullable=False, server_default=""),
        Column("lonely_crashes", Integer),
    )
    Index("inbox_processed", inbox.c.processed_at, postgresql_where=inbox.c.processed_at.is_not(None))
    waiting = inbox.c.processed_at.is_(None)
    Index("inbox_waiting", inbox.c.seq, postgresql_where=waiting)
    Index("inbox_suspects", inbox.c.seq, postgresql_where=waiting & inbox.c.lonely_crashes.is_not(None))
    crash_guard.table(metadata)
    dead_letters = Table(
        "dead_letters",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", Uuid, nullable=False),
        Column("type", Text, nullable=False),
        Column("event", LargeBinary, nullable=False),
        Column("error", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("parked_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("resolved_at", DateTime(timezone=True)),
        Column("resolution", Text),
    )
    return inbox, dead_letters


async def store(connection: Connection, received: Sequence[ReceivedEvent], replica: str) -> int:
    """Returns how many of them are new."""
    tag = await connection.execute(
        STORE,
        [event.event_id for event in received],
        [event.type for event in received],
        [event.event for event in received],
        replica,
    )
    return int(tag.removeprefix("INSERT 0 "))


async def park(connection: Connection, event_id: UUID, error: str) -> None:
    """Sets a waiting event aside for a person to look at; `report_parked` is to follow after the commit."""
    await connection.execute(PARK, event_id, error)


async def oldest(connection: Connection, mark: LowWaterMark, limit: int) -> list[WaitingEvent]:
    """Locks and returns the oldest events after the mark that are not suspects and that no other transaction holds.

    After the commit, the caller calls `mark.committed`.
    """
    return [WaitingEvent(*row[1:]) for row in await mark.fetch(connection, CLAIM, limit)]


async def oldest_suspect(connection: Connection) -> list[WaitingEvent]:
    return _waiting(await connection.fetch(CLAIM_SUSPECT))


async def among(connection: Connection, event_ids: Sequence[UUID]) -> list[WaitingEvent]:
    return _waiting(await connection.fetch(CLAIM_AMONG, event_ids))


def _waiting(rows: Sequence[Row]) -> list[WaitingEvent]:
    return [WaitingEvent(*row) for row in rows]


async def mark_processed(connection: Connection, event_ids: Sequence[UUID]) -> None:
    await connection.execute(MARK, event_ids)


async def failed(connection: Connection, event_id: UUID, error: str, jitter: float) -> int:
    """Makes it wait before the next attempt. Returns how many there were, 0 for one that waits no longer."""
    return await connection.fetchval(FAILED, event_id, error, jitter, LONGEST_WAIT) or 0
