"""The tables of an inbox and all SQL statements on them.

A row of `inbox` is one event. It waits while `processed_at` is null. `not_before` delays the next attempt after a
failure. An event with a value in `lonely_crashes` is suspected of having crashed a process: it is in quarantine,
where events are processed one by one, and the column counts the crashes there.
"""

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

RETRY_DELAY_LIMIT_SECONDS = 300.0

# In the order of ids: two replicas that store the same events lock their keys in the same order, and cannot
# deadlock.
STORE = """
    INSERT INTO inbox (event_id, type, event, received_by)
    SELECT *, $4::text
    FROM unnest($1::uuid[], $2::text[], $3::bytea[])
        AS received (event_id, type, event)
    ORDER BY event_id
    ON CONFLICT (event_id) DO NOTHING
"""

CLAIM_OLDEST = """
    SELECT seq, event_id, type, event, received_at, received_by FROM inbox
    WHERE seq > $2
        AND processed_at IS NULL AND lonely_crashes IS NULL AND (not_before IS NULL OR not_before <= now())
    ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED
"""

# Events with the fewest crashes come first, so that the harmless ones among them do not wait while a culprit
# crashes again and again.
CLAIM_SUSPECTED = """
    SELECT event_id, type, event, received_at, received_by FROM inbox
    WHERE processed_at IS NULL AND lonely_crashes IS NOT NULL AND (not_before IS NULL OR not_before <= now())
    ORDER BY lonely_crashes, seq LIMIT 1 FOR UPDATE SKIP LOCKED
"""

CLAIM_BY_ID = """
    SELECT event_id, type, event, received_at, received_by FROM inbox
    WHERE processed_at IS NULL AND lonely_crashes IS NULL AND event_id = ANY ($1::uuid[])
    ORDER BY seq FOR UPDATE SKIP LOCKED
"""

MARK_PROCESSED = "UPDATE inbox SET processed_at = now() WHERE event_id = ANY ($1::uuid[])"

# The delay doubles with each failure up to a limit ($4 seconds). The jitter ($3) keeps events that failed together
# from coming back together.
RECORD_FAILURE = """
    UPDATE inbox SET attempts = attempts + 1, last_error = $2,
        not_before = now() + make_interval(secs => $3 * least(power(2, attempts), $4))
    WHERE event_id = $1 AND processed_at IS NULL
    RETURNING attempts
"""

DEAD_LETTER = """
    WITH dead_lettered AS (
        UPDATE inbox SET processed_at = now() WHERE event_id = $1 AND processed_at IS NULL
        RETURNING event_id, type, event, attempts
    )
    INSERT INTO dead_letters (event_id, type, event, attempts, error)
    SELECT event_id, type, event, attempts, $2 FROM dead_lettered
"""

BACKLOG = (
    """
        SELECT (SELECT count(*) FROM (SELECT FROM inbox WHERE processed_at IS NULL LIMIT 100000) AS waiting),
            coalesce(extract(epoch FROM now() - (
                SELECT received_at FROM inbox WHERE processed_at IS NULL ORDER BY seq LIMIT 1)), 0)
    """,
    Gauge("gozon_inbox_waiting", "Events in the inbox that are not processed, counted up to 100,000"),
    Gauge(
        "gozon_inbox_oldest_seconds",
        "Age of the oldest event in the inbox that is not processed; 0 if there is none",
    ),
)

DEAD_LETTERS = (
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
    """Stores the events whose ids are not in the inbox yet. Returns how many were new."""
    tag = await connection.execute(
        STORE,
        [event.event_id for event in received],
        [event.type for event in received],
        [event.event for event in received],
        replica,
    )
    return int(tag.removeprefix("INSERT 0 "))


async def claim_oldest(connection: Connection, mark: LowWaterMark, limit: int) -> list[WaitingEvent]:
    """Locks and returns the oldest waiting events after the mark, except suspected and locked ones.

    After the commit, the caller must call `mark.on_committed`.
    """
    return [WaitingEvent(*row[1:]) for row in await mark.fetch(connection, CLAIM_OLDEST, limit)]


async def claim_suspected(connection: Connection) -> list[WaitingEvent]:
    """Locks and returns the suspected event that comes next in quarantine, or an empty list."""
    return _waiting(await connection.fetch(CLAIM_SUSPECTED))


async def claim_by_id(connection: Connection, event_ids: Sequence[UUID]) -> list[WaitingEvent]:
    """Locks and returns the given events, except processed, suspected and locked ones."""
    return _waiting(await connection.fetch(CLAIM_BY_ID, event_ids))


def _waiting(rows: Sequence[Row]) -> list[WaitingEvent]:
    return [WaitingEvent(*row) for row in rows]


async def mark_processed(connection: Connection, event_ids: Sequence[UUID]) -> None:
    await connection.execute(MARK_PROCESSED, event_ids)


async def record_failure(connection: Connection, event_id: UUID, error: str, jitter: float) -> int:
    """Counts a failed attempt and delays the next one; `jitter` is a factor of the delay.

    Returns the number of failed attempts, or 0 if another replica has processed the event since.
    """
    return await connection.fetchval(RECORD_FAILURE, event_id, error, jitter, RETRY_DELAY_LIMIT_SECONDS) or 0


async def dead_letter(connection: Connection, event_id: UUID, error: str) -> None:
    """Moves a waiting event to the table `dead_letters` and marks it as processed.

    The caller must call `inbox.report_dead_letter` after the commit.
    """
    await connection.execute(DEAD_LETTER, event_id, error)
