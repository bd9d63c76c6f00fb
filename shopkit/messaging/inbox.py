"""The inbox: what was received is stored and acknowledged first, and worked off in the database's own time.

An event is stored once, by its id. It is worked off in the transaction that marks it processed, so that
it takes effect once or not at all.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import TypeAlias

import structlog

from shopkit.db.database import Connection, Database
from shopkit.messaging import crash_guard, inbox_store
from shopkit.messaging.crash_guard import LONELY_CRASHES, Crash, CrashGuard
from shopkit.messaging.event_log import named
from shopkit.messaging.inbox_store import WaitingEvent, park
from shopkit.messaging.low_water_mark import LowWaterMark
from shopkit.observability import tracing
from shopkit.observability.metrics import BATCH_SIZE, DEAD_LETTERED, HANDLER_FAILURES
from shopkit.runtime.retry import Backoff, BatchSize, Cause, Progress, cause_of, is_transient, pause

INBOX_BATCH_SIZE = 1000
POLL_SECONDS = 1.0
SUSPECTS_SECONDS = 0.05
ATTEMPTS = 8

log = structlog.get_logger()

# What a handler returns: to be called when its effects are committed.
Committed: TypeAlias = Callable[[], None]
Claim: TypeAlias = Callable[[Connection], Awaitable[list[WaitingEvent]]]


def report_parked(event: WaitingEvent, error: str) -> None:
    DEAD_LETTERED.labels("inbox").inc()
    log.error("parked as a dead letter", error=error, **named(event.event))


class Inbox:
    """Works off waiting events in batches. `handle` writes their effects on the connection it is given.

    When a batch fails for a reason of its own, it is halved until the culprit stands alone; the culprit is
    tried again with backoff and parked after ATTEMPTS failures. An event that may have killed the process
    that handled it is handled alone, and parked by the crash guard. Nothing else waits for either.
    """

    def __init__(
        self,
        database: Database,
        replica: str,
        handle: Callable[[Connection, Sequence[WaitingEvent]], Awaitable[Committed]],
    ) -> None:
        self._database = database
        self._handle = handle
        self._guard = CrashGuard(database, replica)
        self._size = BatchSize(INBOX_BATCH_SIZE)
        self._mark = LowWaterMark()
        self._progress = Progress()
        self._suspects_due = 0.0
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    async def check(self) -> None:
        """Raises Stalled while batches have failed for too long, for a reason outside their events."""
        self._progress.check()

    async def run(self) -> None:
        if not await self._database.wait_migrated(self._stopping):
            return
        backoff = Backoff()
        while not self._stopping.is_set():
            self._wake.clear()
            self._progress.begin()
            limit = self._size.limit
            try:
                count = await self.work_off()
                busy = await self._work_off_suspects() or count >= limit
                if not busy:
                    await self._guard.erase()  # an event that is replayed later is not to find us in its way
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("inbox must wait", error=repr(error))
                await pause(self._stopping, backoff.next())
                continue
            self._progress.done()
            backoff.reset()
            if not busy:
                await pause(self._wake, POLL_SECONDS)
        await self._take_back()

    async def work_off(self) -> int:
        """Returns how many events it was given."""
        count = await self._transact(partial(inbox_store.oldest, mark=self._mark, limit=self._size.limit))
        self._mark.committed()
        return count

    async def work_off_suspect(self) -> bool:
        """One at a time, between two batches, so that nothing else waits for them. False when there is none."""
        if time.monotonic() < self._suspects_due:
            return False
        found = await self._transact(inbox_store.oldest_suspect, alone=True) > 0
        self._suspects_due = 0.0 if found else time.monotonic() + POLL_SECONDS
        return found

    async def _work_off_suspects(self) -> bool:
        """For a moment, so that the other events do not wait for many of them. Whether there was one."""
        enough = time.monotonic() + SUSPECTS_SECONDS
        found = False
        while time.monotonic() < enough and await self.work_off_suspect():
            found = True
        return found

    async def _transact(self, claim: Claim, *, alone: bool = False) -> int:
        """One transaction: claim, handle, mark processed, commit."""
        claimed: list[WaitingEvent] = []
        try:
            # One event cannot be halved, so what happens to a suspect says nothing about batches.
            with ExitStack() as traced, nullcontext() if alone else self._size.observing(claimed):
                # Two blocks erase the note when they fail, in this order. The block in `_guarded` erases it while
                # this transaction still holds the locks, so that no replica finds the note of a living process.
                # This block erases it when COMMIT itself fails, which has released the locks. In the moment before
                # that, another replica may claim the rows and then handle them one by one: slow, and harmless.
                # The note must stay until then, because it is all that a crash during COMMIT leaves behind.
                async with self._erasing_note(), self._database.begin() as connection:
                    claimed += await claim(connection)
                    if not claimed:
                        return 0
                    parents = (tracing.of_event(event.event) for event in claimed)
                    traced.enter_context(tracing.batch("work off the inbox", parents))
                    committed = await self._guarded(connection, claimed, alone)
        except Exception as error:
            if not claimed or cause_of(error) is not Cause.CONTENT:
                raise
            HANDLER_FAILURES.labels("inbox").inc()
            log.exception("inbox batch failed", events=len(claimed), **named(claimed[0].event))
            await self._isolate(claimed, error)
        else:
            BATCH_SIZE.labels("inbox").observe(len(claimed))
            committed()
        return len(claimed)

    async def _guarded(self, connection: Connection, claimed: list[WaitingEvent], alone: bool) -> Committed:
        event_ids = [event.event_id for event in claimed]
        async with self._erasing_note():
            crashes = await self._guard.note(event_ids)
            # A suspect is in the notes of the crash that made it one; what counts is whether it was alone since.
            if crashes := crash_guard.lonely(crashes) if alone else crashes:
                committed = await _suspect(connection, claimed, crashes)
                self._suspects_due = 0.0
                await self._guard.erase()  # whoever gets these events next is not to take us for dead
                return committed
            committed = await self._handle(connection, claimed)
            await inbox_store.mark_processed(connection, event_ids)
        return committed

    @asynccontextmanager
    async def _erasing_note(self) -> AsyncGenerator[None]:
        """Erases the note of the crash guard when the block raises: this process has not crashed."""
        try:
            yield
        except BaseException:  # a worker that is cancelled has not crashed either
            await self._take_back()
            raise

    async def _isolate(self, claimed: Sequence[WaitingEvent], error: Exception) -> None:
        if len(claimed) == 1:
            return await self._failed(claimed[0], repr(error))
        ids = [event.event_id for event in claimed]
        middle = len(ids) // 2
        await self._transact(partial(inbox_store.among, event_ids=ids[:middle]))
        await self._transact(partial(inbox_store.among, event_ids=ids[middle:]))
        return None

    async def _failed(self, event: WaitingEvent, error: str) -> None:
        jitter = random.uniform(0.5, 1)  # noqa: S311 (spreads load, guards nothing)
        async with self._database.begin() as connection:
            parked = await inbox_store.failed(connection, event.event_id, error, jitter) >= ATTEMPTS
            if parked:
                await park(connection, event.event_id, error)
        if parked:
            report_parked(event, error)

    async def _take_back(self) -> None:
        try:
            await self._guard.erase()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("note of the crash guard stays", error=repr(error))


async def _suspect(connection: Connection, held: Sequence[WaitingEvent], crashes: Sequence[Crash]) -> Committed:
    guilty_ids = await crash_guard.suspect(connection, [event.event_id for event in held], crashes)
    guilty = [event for event in held if event.event_id in guilty_ids]
    error = f"the process that handled it died {LONELY_CRASHES} times"
    for event in guilty:
        await park(connection, event.event_id, error)

    def committed() -> None:
        replicas = sorted({crash.replica for crash in crashes})
        log.error("a process died with events in its hand", replicas=replicas, events=len(held))
        for event in guilty:
            report_parked(event, error)

    return committed
