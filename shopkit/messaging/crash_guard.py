"""The crash guard of the inbox: finds an event that crashes the process that handles it, and quarantines it.

An event that makes its handler raise is found by halving the batch (`inbox.py`). An event that kills the process
raises nothing, and everything in the open transaction is lost with the process. So something must outlive the
process and must be written before the work (docs/adr/0008-a-crash-guard-for-the-inbox.md):

1. A process locks the rows of its batch. Then it writes their ids into its row of the table `inbox_in_hand`, the
   note. The note is committed on another connection before the batch is handled.
2. A process that fails without crashing erases its note, if it can before it releases the locks.
3. Another process that locks one of these rows looks for notes of other processes. It holds the lock, so the
   transaction of the other process has ended. The row still waits, so that transaction did not commit. The note was
   not erased. The other process has therefore crashed, or has lost its connection to the database.
4. All events of that note are suspected now. Suspected events are in quarantine: they are handled in isolation, one
   event per transaction, so a crash there has one possible culprit.
5. An event that has crashed ISOLATED_CRASH_LIMIT processes in isolation becomes a dead letter.

A lost connection counts as a crash for the moment until its process erases the note. That does no harm: the events
take effect in isolation, and three such crashes of one event are needed for a dead letter, which can be replayed.
"""

from collections.abc import Sequence
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import ARRAY, Column, DateTime, MetaData, Table, Text, Uuid, func

from shopkit.db.database import Connection, Database

ISOLATED_CRASH_LIMIT = 3

# One row per process. The table is unlogged, so the commit waits for no disk: the note must survive this process,
# but not the server. A note from before the last start of the server is ignored, because that start ended all
# transactions. INTERSECT hashes; the operator && would compare each of a thousand ids with each of a thousand
# others.
WRITE_NOTE = """
    WITH noted AS (
        INSERT INTO inbox_in_hand (id, event_ids, replica) VALUES ($1, $2::uuid[], $3)
        ON CONFLICT (id) DO UPDATE SET event_ids = excluded.event_ids, taken_at = now()
    )
    SELECT id, event_ids, replica FROM inbox_in_hand
    WHERE id <> $1 AND taken_at > pg_postmaster_start_time()
        AND EXISTS (SELECT unnest(event_ids) INTERSECT SELECT unnest($2::uuid[]))
"""

ERASE_NOTE = "DELETE FROM inbox_in_hand WHERE id = $1"

# Notes that are not needed any more. The note of a crash in isolation is counted once and deleted ($1). A note of
# several events stays while one of them waits: other replicas can hold the rest, and must learn of the crash too.
DELETE_NOTES = """
    DELETE FROM inbox_in_hand WHERE id = ANY ($1::uuid[]) OR NOT EXISTS
        (SELECT FROM inbox WHERE event_id = ANY (inbox_in_hand.event_ids) AND processed_at IS NULL)
"""

# $1: events that crashed a process in isolation. $2: all suspected events, including $1.
MARK_SUSPECTED = """
    UPDATE inbox SET lonely_crashes = coalesce(lonely_crashes, 0)
        + CASE WHEN event_id = ANY ($1::uuid[]) THEN 1 ELSE 0 END
    WHERE event_id = ANY ($2::uuid[])
    RETURNING event_id, lonely_crashes
"""


def table(metadata: MetaData) -> Table:
    return Table(
        "inbox_in_hand",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("event_ids", ARRAY(Uuid), nullable=False),
        Column("replica", Text, nullable=False),
        Column("taken_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        prefixes=["UNLOGGED"],
    )


class Crash(msgspec.Struct, frozen=True):
    """The note of a process that crashed while it handled `event_ids`."""

    id: UUID
    event_ids: frozenset[UUID]
    replica: str


class CrashGuard:
    """The note of one process.

    Each instance has its own id, so a restarted replica does not overwrite an old note.
    """

    def __init__(self, database: Database, replica: str) -> None:
        self._database = database
        self._process = uuid4()
        self._noted = False
        self._replica = replica

    async def write_note(self, event_ids: Sequence[UUID]) -> list[Crash]:
        """Replaces this process's note. Returns the crashes of other processes on one of these events.

        Must be called while the rows are locked, and before they are handled.
        """
        self._noted = True
        async with self._database.autocommit() as connection:
            rows = await connection.fetch(WRITE_NOTE, self._process, event_ids, self._replica)
        return [Crash(crash_id, frozenset(ids), replica) for crash_id, ids, replica in rows]

    async def erase_note(self) -> None:
        """Must be called before the locks of events that are still waiting are released."""
        if self._noted:
            async with self._database.autocommit() as connection:
                await connection.execute(ERASE_NOTE, self._process)
            self._noted = False


def in_isolation(crashes: Sequence[Crash]) -> list[Crash]:
    """Returns the crashes that have one possible culprit, because the process handled a single event."""
    return [crash for crash in crashes if len(crash.event_ids) == 1]


async def mark_suspected(connection: Connection, claimed: Sequence[UUID], crashes: Sequence[Crash]) -> list[UUID]:
    """Marks the claimed events of `crashes` as suspected, and counts their crashes in isolation.

    Returns the events that reached ISOLATED_CRASH_LIMIT. The caller must dead-letter them.
    """
    isolated = in_isolation(crashes)
    marked = await connection.fetch(
        MARK_SUSPECTED,
        list(_events_of(isolated).intersection(claimed)),
        list(_events_of(crashes).intersection(claimed)),
    )
    await connection.execute(DELETE_NOTES, [crash.id for crash in isolated])
    return [event_id for event_id, crash_count in marked if crash_count >= ISOLATED_CRASH_LIMIT]


def _events_of(crashes: Sequence[Crash]) -> frozenset[UUID]:
    return frozenset[UUID]().union(*(crash.event_ids for crash in crashes))
