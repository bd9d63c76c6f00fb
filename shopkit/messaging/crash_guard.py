"""The crash guard: finds the event that kills the process that handles it.

What a process is about to handle is noted where it outlives the process. Whoever then holds the locks of
an event that somebody else has noted knows that the other one ended without a word. Its events are handled
alone from then on, and one that has killed its process LONELY_CRASHES times while it was alone is parked.
"""

from collections.abc import Sequence
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import ARRAY, Column, DateTime, MetaData, Table, Text, Uuid, func

from shopkit.db.database import Connection, Database

LONELY_CRASHES = 3

# One row a process. Committed without a flush, as the table is unlogged: the note has to outlive this process
# and not the server. A note from before the server's last start says nothing, for that start ended everybody.
# INTERSECT hashes; the operator && would compare each of a thousand ids with each of a thousand others.
NOTE = """
    WITH noted AS (
        INSERT INTO inbox_in_hand (id, event_ids, replica) VALUES ($1, $2::uuid[], $3)
        ON CONFLICT (id) DO UPDATE SET event_ids = excluded.event_ids, taken_at = now()
    )
    SELECT id, event_ids, replica FROM inbox_in_hand
    WHERE id <> $1 AND taken_at > pg_postmaster_start_time()
        AND EXISTS (SELECT unnest(event_ids) INTERSECT SELECT unnest($2::uuid[]))
"""

ERASE = "DELETE FROM inbox_in_hand WHERE id = $1"

# A crash with several events stays noted while one of them waits: it may be in other hands, which must learn of
# it too.
COUNTED = """
    DELETE FROM inbox_in_hand WHERE id = ANY ($1::uuid[]) OR NOT EXISTS
        (SELECT FROM inbox WHERE event_id = ANY (inbox_in_hand.event_ids) AND processed_at IS NULL)
"""

SUSPECT = """
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
    """A process that died with `event_ids` in its hand."""

    id: UUID
    event_ids: frozenset[UUID]
    replica: str


class CrashGuard:
    def __init__(self, database: Database, replica: str) -> None:
        self._database = database
        self._process = uuid4()
        self._noted = False
        self._replica = replica

    async def note(self, event_ids: Sequence[UUID]) -> list[Crash]:
        """To be called with the rows locked and before they are handled. Returns who died handling one of them."""
        self._noted = True
        async with self._database.at_once() as connection:
            rows = await connection.fetch(NOTE, self._process, event_ids, self._replica)
        return [Crash(crash_id, frozenset(ids), replica) for crash_id, ids, replica in rows]

    async def erase(self) -> None:
        """To be called before the locks of rows that were not handled are given up."""
        if self._noted:
            async with self._database.at_once() as connection:
                await connection.execute(ERASE, self._process)
            self._noted = False


def lonely(crashes: Sequence[Crash]) -> list[Crash]:
    return [crash for crash in crashes if len(crash.event_ids) == 1]


async def suspect(connection: Connection, held: Sequence[UUID], crashes: Sequence[Crash]) -> list[UUID]:
    """Marks the events among `held` that may have killed a process; returns those to park."""
    alone = lonely(crashes)
    marked = await connection.fetch(
        SUSPECT, list(_events_of(alone).intersection(held)), list(_events_of(crashes).intersection(held))
    )
    await connection.execute(COUNTED, [crash.id for crash in alone])
    return [event_id for event_id, count in marked if count >= LONELY_CRASHES]


def _events_of(crashes: Sequence[Crash]) -> frozenset[UUID]:
    return frozenset[UUID]().union(*(crash.event_ids for crash in crashes))
