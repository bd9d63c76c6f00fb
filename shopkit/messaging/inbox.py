"""The inbox: stores each event once, and processes it so that it takes effect once or not at all.

A consumer first stores the events of a message in the table `inbox`, and acknowledges the message after that
commit. The event id is the primary key, so a redelivered event is stored once. The inbox then processes the stored
events in batches. The effects of an event and its mark `processed_at` commit in the same transaction.

Limits of the guarantee: retention deletes processed rows some days later, and an event that is redelivered after
that is new to the inbox. A crash right after a commit skips `OnCommitted`.

One batch is one transaction, and each step comes where it does for a reason:

1. Claim: lock rows that are not processed, with SKIP LOCKED, so that replicas share the work and never wait.
2. Note: the crash guard writes the ids on another connection, while the rows are locked and before any of them is
   handled. If the process dies from here on, the note remains (`crash_guard.py`).
3. Handle: `handle` writes the effects on the connection of the transaction.
4. Mark the rows as processed, and commit.
5. Call the `OnCommitted` that `handle` returned.
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
from shopkit.messaging import crash_guard, event_log, inbox_store
from shopkit.messaging.crash_guard import ISOLATED_CRASH_LIMIT, Crash, CrashGuard
from shopkit.messaging.event_log import log_fields
from shopkit.messaging.inbox_store import ReceivedEvent, WaitingEvent
from shopkit.messaging.low_water_mark import LowWaterMark
from shopkit.observability import tracing
from shopkit.observability.metrics import BATCH_SIZE, DEAD_LETTERED, DUPLICATES, HANDLER_FAILURES
from shopkit.runtime.retry import Backoff, BatchSize, Cause, Progress, cause_of, is_transient, pause

INBOX_BATCH_SIZE = 1000
RECEIVED_STEP = "received"  # in the log of events
POLL_SECONDS = 1.0
# Time per loop for suspected events, so that the other events never wait long for them.
QUARANTINE_SLICE_SECONDS = 0.05
# Failed attempts after which an event becomes a dead letter.
ATTEMPTS = 8

log = structlog.get_logger()

# The return value of a handler. The inbox calls it after the commit of the handler's effects.
OnCommitted: TypeAlias = Callable[[], None]
# Locks the rows of one batch and returns their events. The locks last until the transaction ends.
Claim: TypeAlias = Callable[[Connection], Awaitable[list[WaitingEvent]]]


def report_dead_letter(event: WaitingEvent, error: str) -> None:
    """Logs and counts a new dead letter. Must be called after the commit of `inbox_store.dead_letter`."""
    DEAD_LETTERED.labels("inbox").inc()
    log.error("event dead-lettered", error=error, **log_fields(event.event))


class Inbox:
    """Stores events, and as a worker processes them in batches. Replicas share the work.

    `handle` writes the effects of a batch on the connection it receives. It must not commit.

    An error is treated by its cause (`shopkit.runtime.retry.cause_of`). In every case the batch is rolled back.
    - Transient: the inbox tries again with backoff. This is no failed attempt of any event.
    - The content of an event: the batch is halved until the failing event is alone. That event is tried again
      later, with a growing delay, and becomes a dead letter after ATTEMPTS failures. The others are processed
      meanwhile.
    - A defect of the program or the schema: `run` raises, which ends the process.

    An event that crashes the process raises no error. The crash guard finds it (`crash_guard.py`).
    """

    def __init__(
        self,
        database: Database,
        replica: str,
        handle: Callable[[Connection, Sequence[WaitingEvent]], Awaitable[OnCommitted]],
    ) -> None:
        self._database = database
        self._replica = replica
        self._handle = handle
        self._guard = CrashGuard(database, replica)
        self._size = BatchSize(INBOX_BATCH_SIZE)
        self._mark = LowWaterMark()
        self._progress = Progress()
        self._next_quarantine_poll = 0.0
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

    async def store(self, received: Sequence[ReceivedEvent]) -> None:
        """Stores events and starts the next batch. Their message can be acknowledged after that."""
        async with self._database.autocommit() as connection:
            new = await inbox_store.store(connection, received, self._replica)
        self.wake()
        event_log.each(RECEIVED_STEP, (event.event for event in received))
        DUPLICATES.labels("inbox").inc(len(received) - new)

    def wake(self) -> None:
        """Starts the next batch without waiting for the poll."""
        self._wake.set()

    def stop(self) -> None:
        """Lets `run` return after the current batch."""
        self._stopping.set()
        self._wake.set()

    async def check(self) -> None:
        """Raises Stalled while batches have failed for too long for a transient reason."""
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
                count = await self.process_batch()
                busy = await self._process_quarantine() or count >= limit
                if not busy:
                    # The note names the last batch. If an operator replays one of its events later, another replica
                    # must not take this old note for a crash.
                    await self._guard.erase_note()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("inbox: retrying after a database error", error=repr(error))
                await pause(self._stopping, backoff.next())
                continue
            self._progress.done()
            backoff.reset()
            if not busy:
                await pause(self._wake, POLL_SECONDS)
        await self._erase_note_if_possible()

    async def process_batch(self) -> int:
        """Processes the oldest waiting events that are not suspected. Returns how many events it claimed.

        Raises an error that is transient or a defect, with the batch rolled back.
        """
        count = await self._process(partial(inbox_store.claim_oldest, mark=self._mark, limit=self._size.limit))
        # Also after a batch that was halved: each of its events is processed by now, or a later sweep finds it.
        self._mark.on_committed()
        return count

    async def process_suspected(self) -> bool:
        """Processes one suspected event in isolation.

        Returns False if there is none, or the next poll is not due.
        """
        if time.monotonic() < self._next_quarantine_poll:
            return False
        found = await self._process(inbox_store.claim_suspected, isolated=True) > 0
        self._next_quarantine_poll = 0.0 if found else time.monotonic() + POLL_SECONDS
        return found

    async def _process_quarantine(self) -> bool:
        """Processes suspected events for QUARANTINE_SLICE_SECONDS. Returns whether there was one."""
        end = time.monotonic() + QUARANTINE_SLICE_SECONDS
        found = False
        while time.monotonic() < end and await self.process_suspected():
            found = True
        return found

    async def _process(self, claim: Claim, *, isolated: bool = False) -> int:
        """One transaction: claim, note, handle, mark processed, commit. Returns how many events were claimed."""
        claimed: list[WaitingEvent] = []
        try:
            # A single event cannot be halved, so a timeout in isolation says nothing about the batch size.
            with ExitStack() as traced, nullcontext() if isolated else self._size.observing(claimed):
                # Two blocks erase the note when they fail, in this order. The block in `_handle_guarded` erases it
                # while this transaction still holds the locks, so that no replica finds the note of a living
                # process. This block erases it when COMMIT itself fails, which has released the locks. In the
                # moment before that, another replica may claim the rows and then handle them one by one: slow, and
                # harmless. The note must stay until then, because it is all that a crash during COMMIT leaves
                # behind.
                async with self._erasing_note_on_error(), self._database.begin() as connection:
                    claimed += await claim(connection)
                    if not claimed:
                        return 0
                    parents = (tracing.of_event(event.event) for event in claimed)
                    traced.enter_context(tracing.batch("process the inbox", parents))
                    on_committed = await self._handle_guarded(connection, claimed, isolated)
        except Exception as error:
            if not claimed or cause_of(error) is not Cause.CONTENT:
                raise
            HANDLER_FAILURES.labels("inbox").inc()
            log.exception("inbox batch failed", events=len(claimed), **log_fields(claimed[0].event))
            await self._bisect(claimed, error)
        else:
            BATCH_SIZE.labels("inbox").observe(len(claimed))
            on_committed()
        return len(claimed)

    async def _handle_guarded(
        self, connection: Connection, claimed: list[WaitingEvent], isolated: bool
    ) -> OnCommitted:
        """Handles `claimed` and marks it as processed. If a process has crashed on events of it, quarantines those.

        `isolated` says that `claimed` is one suspected event.
        """
        event_ids = [event.event_id for event in claimed]
        async with self._erasing_note_on_error():
            crashes = await self._guard.write_note(event_ids)
            # The note of the crash that made an event suspected can still be there and name several events.
            # In isolation, only crashes in isolation count.
            if crashes := crash_guard.in_isolation(crashes) if isolated else crashes:
                on_committed = await _quarantine(connection, claimed, crashes)
                self._next_quarantine_poll = 0.0
                # The events stay unprocessed, and the commit releases their locks. The replica that claims them
                # next must not find a note of this process, or it would count a crash that has not happened.
                await self._guard.erase_note()
                return on_committed
            on_committed = await self._handle(connection, claimed)
            await inbox_store.mark_processed(connection, event_ids)
        return on_committed

    @asynccontextmanager
    async def _erasing_note_on_error(self) -> AsyncGenerator[None]:
        """Erases the note of the crash guard when the block raises: this process has not crashed."""
        try:
            yield
        except BaseException:  # a worker that is cancelled has not crashed either
            await self._erase_note_if_possible()
            raise

    async def _bisect(self, claimed: Sequence[WaitingEvent], error: Exception) -> None:
        """Processes both halves of a batch that `error` has rolled back; of a single event, records the failure.

        The rollback has released the locks. Each half claims its events again, and skips events that another
        replica has locked or processed in between.
        """
        if len(claimed) == 1:
            return await self._record_failure(claimed[0], repr(error))
        ids = [event.event_id for event in claimed]
        middle = len(ids) // 2
        await self._process(partial(inbox_store.claim_by_id, event_ids=ids[:middle]))
        await self._process(partial(inbox_store.claim_by_id, event_ids=ids[middle:]))
        return None

    async def _record_failure(self, event: WaitingEvent, error: str) -> None:
        """Counts a failed attempt in a transaction of its own, because that of the attempt was rolled back."""
        jitter = random.uniform(0.5, 1)  # noqa: S311 (spreads load, guards nothing)
        async with self._database.begin() as connection:
            attempts = await inbox_store.record_failure(connection, event.event_id, error, jitter)
            if attempts >= ATTEMPTS:
                await inbox_store.dead_letter(connection, event.event_id, error)
        if attempts >= ATTEMPTS:
            report_dead_letter(event, error)

    async def _erase_note_if_possible(self) -> None:
        """Erases the note. If the database is unavailable, logs that, so that the first error is not hidden."""
        try:
            await self._guard.erase_note()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("could not erase the note of the crash guard", error=repr(error))


async def _quarantine(
    connection: Connection, claimed: Sequence[WaitingEvent], crashes: Sequence[Crash]
) -> OnCommitted:
    """Marks the claimed events of `crashes` as suspected, and dead-letters events that reached the limit."""
    culprit_ids = await crash_guard.mark_suspected(connection, [event.event_id for event in claimed], crashes)
    culprits = [event for event in claimed if event.event_id in culprit_ids]
    error = f"the process that handled it crashed {ISOLATED_CRASH_LIMIT} times"
    for event in culprits:
        await inbox_store.dead_letter(connection, event.event_id, error)

    def on_committed() -> None:
        replicas = sorted({crash.replica for crash in crashes})
        log.error("a process crashed while it handled events", replicas=replicas, events=len(claimed))
        for event in culprits:
            report_dead_letter(event, error)

    return on_committed
