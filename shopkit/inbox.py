"""The inbox: what was received is stored and acknowledged first, and worked off in the database's own time.

An event is stored once, by its id. It is worked off in the transaction that marks it processed, so that
it takes effect once or not at all.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import (
    ARRAY,
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
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from shopkit.db import Database
from shopkit.retry import Backoff, blames_content, is_transient, pause
from shopkit.telemetry import BATCH_SIZE, DEAD_LETTERED, DUPLICATES, HANDLER_FAILURES

MOST = 500
POLL_SECONDS = 1.0
ATTEMPTS = 8
LONGEST_WAIT = 300.0

STORE = text("""
    INSERT INTO inbox (event_id, type, event)
    SELECT * FROM unnest(CAST(:event_ids AS uuid[]), CAST(:types AS text[]), CAST(:events AS bytea[]))
    ON CONFLICT (event_id) DO NOTHING
""")

CLAIM = text("""
    SELECT event_id, type, event FROM inbox
    WHERE processed_at IS NULL AND (not_before IS NULL OR not_before <= now())
    ORDER BY seq LIMIT :most FOR UPDATE SKIP LOCKED
""")

CLAIM_AMONG = text("""
    SELECT event_id, type, event FROM inbox
    WHERE processed_at IS NULL AND event_id = ANY (CAST(:among AS uuid[]))
    ORDER BY seq FOR UPDATE SKIP LOCKED
""")

MARK = text("UPDATE inbox SET processed_at = now() WHERE event_id = ANY (CAST(:event_ids AS uuid[]))")

FAILED = text("""
    UPDATE inbox SET attempts = attempts + 1, last_error = :error,
        not_before = now() + make_interval(secs => :jitter * least(power(2, attempts), :longest))
    WHERE event_id = :event_id AND processed_at IS NULL
    RETURNING attempts
""")

PARK = text("""
    WITH parked AS (
        UPDATE inbox SET processed_at = now() WHERE event_id = :event_id AND processed_at IS NULL
        RETURNING event_id, type, event, attempts
    )
    INSERT INTO dead_letters (event_id, type, event, attempts, error)
    SELECT event_id, type, event, attempts, :error FROM parked
""")

log = structlog.get_logger()


class Received(msgspec.Struct, frozen=True):
    event_id: UUID
    type: str
    event: bytes


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
        Column("received_by", Text),
        Column("lonely_crashes", Integer),
    )
    Index("inbox_waiting", inbox.c.seq, postgresql_where=inbox.c.processed_at.is_(None))
    Index("inbox_processed", inbox.c.processed_at, postgresql_where=inbox.c.processed_at.is_not(None))
    Table(
        "inbox_in_hand",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("event_ids", ARRAY(Uuid), nullable=False),
        Column("replica", Text, nullable=False),
        Column("taken_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        prefixes=["UNLOGGED"],
    )
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


async def store(connection: AsyncConnection, received: Sequence[Received]) -> None:
    result = await connection.execute(
        STORE,
        {
            "event_ids": [event.event_id for event in received],
            "types": [event.type for event in received],
            "events": [event.event for event in received],
        },
    )
    DUPLICATES.labels("inbox").inc(len(received) - result.rowcount)


async def park(connection: AsyncConnection, event_id: UUID, error: str) -> None:
    """Sets a waiting event aside for a person to look at."""
    await connection.execute(PARK, {"event_id": event_id, "error": error})
    DEAD_LETTERED.labels("inbox").inc()
    log.error("parked as a dead letter", event_id=str(event_id), error=error)


class Inbox:
    """Works off waiting events in batches. `handle` writes their effects on the connection it is given.

    When a batch fails for a reason of its own, it is halved until the culprit stands alone; the culprit is
    tried again with backoff and parked after ATTEMPTS failures, and nothing else waits for it.
    """

    def __init__(
        self,
        database: Database,
        handle: Callable[[AsyncConnection, Sequence[Received]], Awaitable[None]],
        committed: Callable[[], None],
    ) -> None:
        self._database = database
        self._handle = handle
        self._committed = committed
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        if not await self._database.wait_migrated(self._stopping):
            return
        backoff = Backoff()
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                count = await self.work_off()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("inbox must wait", error=repr(error))
                await pause(self._stopping, backoff.next())
                continue
            backoff.reset()
            if count < MOST:
                await self._wait()

    async def work_off(self, among: list[UUID] | None = None) -> int:
        """One transaction: claim, handle, mark processed, commit. Returns how many events it was given."""
        claimed: Sequence[Received] = ()
        try:
            async with self._database.begin() as connection:
                claimed = await _claim(connection, among)
                if claimed:
                    await self._handle(connection, claimed)
                    await connection.execute(MARK, {"event_ids": [event.event_id for event in claimed]})
        except Exception as error:
            if not claimed or not blames_content(error):
                raise
            HANDLER_FAILURES.labels("inbox").inc()
            log.exception("inbox batch failed", events=len(claimed))
            await self._isolate(claimed, error)
        else:
            if claimed:
                BATCH_SIZE.labels("inbox").observe(len(claimed))
                self._committed()
        return len(claimed)

    async def _isolate(self, claimed: Sequence[Received], error: Exception) -> None:
        if len(claimed) == 1:
            return await self._failed(claimed[0].event_id, repr(error))
        ids = [event.event_id for event in claimed]
        middle = len(ids) // 2
        await self.work_off(ids[:middle])
        await self.work_off(ids[middle:])
        return None

    async def _failed(self, event_id: UUID, error: str) -> None:
        jitter = random.uniform(0.5, 1)  # noqa: S311 (spreads load, guards nothing)
        async with self._database.begin() as connection:
            values = {"event_id": event_id, "error": error, "jitter": jitter, "longest": LONGEST_WAIT}
            attempts = await connection.scalar(FAILED, values)
            if attempts is not None and attempts >= ATTEMPTS:
                await park(connection, event_id, error)

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake.wait()


async def _claim(connection: AsyncConnection, among: list[UUID] | None) -> list[Received]:
    if among is None:
        rows = await connection.execute(CLAIM, {"most": MOST})
    else:
        rows = await connection.execute(CLAIM_AMONG, {"among": among})
    return [Received(event_id, kind, event) for event_id, kind, event in rows]
