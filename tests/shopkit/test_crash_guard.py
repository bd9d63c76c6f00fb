"""Tests of the crash guard: an event that crashes the process that handles it, and the events handled with it."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from shopkit.db.database import Connection, Database
from shopkit.messaging import inbox, inbox_store
from shopkit.messaging.crash_guard import ISOLATED_CRASH_LIMIT, CrashGuard
from shopkit.messaging.inbox import Inbox, OnCommitted
from shopkit.messaging.inbox_store import ReceivedEvent, WaitingEvent
from tests.servers import rows, running
from tests.shopkit.frail_inbox import DEADLY, ENDLESS
from tests.shopkit.inbox_events import EFFECT, effects, events, ids, store
from tests.support import Replica, eventually

REASON = "the process that handled it crashed 3 times"

pytestmark = pytest.mark.usefixtures("every_read_sweeps")


async def dead_letters(database: Database) -> list[tuple[UUID, str]]:
    return [tuple(row) for row in await rows(database, "SELECT event_id, error FROM dead_letters")]


async def suspected(database: Database) -> dict[UUID, int]:
    """Returns the waiting events in quarantine, and how many crashes each has caused in isolation."""
    found = await rows(
        database, "SELECT event_id, lonely_crashes FROM inbox WHERE lonely_crashes >= 0 AND processed_at IS NULL"
    )
    return {row.event_id: row.lonely_crashes for row in found}


async def notes(database: Database) -> list[list[UUID]]:
    return [row.event_ids for row in await rows(database, "SELECT event_ids FROM inbox_in_hand")]


class Supervisor:
    """Starts the process of frail_inbox again after each crash."""

    def __init__(self, name: str, log: Path, **settings: str) -> None:
        self.replica = Replica("tests.shopkit.frail_inbox", settings | {"REPLICA": name}, log)
        self.log = log
        self.crashes = 0
        self._ending = False

    async def run(self) -> None:
        while not self._ending:
            await self.replica.start()
            assert self.replica.process is not None
            status = await self.replica.process.wait()
            assert status == -signal.SIGKILL, self.replica.log()
            self.crashes += not self._ending

    async def end(self) -> None:
        self._ending = True
        if self.replica.running:
            await self.replica.kill()

    def batches(self) -> list[list[UUID]]:
        """Returns the batches of the handler, as lists of event ids."""
        lines = self.replica.log().splitlines() if self.log.exists() else []
        return [[UUID(word) for word in line.split()[1:]] for line in lines if line.startswith("batch")]


@asynccontextmanager
async def supervised(*supervisors: Supervisor) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(supervisor.run()) for supervisor in supervisors]
    try:
        yield
        assert not [task for task in tasks if task.done()]
    finally:
        while not all(task.done() for task in tasks):
            await asyncio.gather(*(supervisor.end() for supervisor in supervisors))
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("count", [1, 2], ids=["one-process", "two-processes"])
async def test_an_event_that_crashes_its_process_is_dead_lettered_and_others_do_not_wait(
    payments_database: Database, payments_url: str, tmp_path: Path, count: int
) -> None:
    before, (culprit,), after = events(4), events(1, DEADLY), events(4)
    await store(payments_database, [*before, culprit, *after])
    supervisors = [
        Supervisor(f"payments-{n}", tmp_path / f"{n}.log", DATABASE_URL=payments_url) for n in range(count)
    ]
    later: list[ReceivedEvent] = []
    culprit_dead_lettered: list[bool] = []

    async def one_more_is_handled() -> bool:
        """Stores one event after the other until the culprit is dead-lettered."""
        if not later or later[-1].event_id in await effects(payments_database):
            culprit_dead_lettered.append(bool(await dead_letters(payments_database)))
            later.extend(events(1))
            await store(payments_database, [later[-1]])
        return culprit_dead_lettered[-1]

    async def all_are_handled() -> bool:
        return await effects(payments_database) == ids([*before, *after, *later])

    async with supervised(*supervisors):
        await eventually(one_more_is_handled, 60)
        await eventually(all_are_handled)
    assert await dead_letters(payments_database) == [(culprit.event_id, REASON)]
    assert len(later) > 1  # some were handled before that
    crashes = Counter(
        "isolated" if len(batch) == 1 else "with others"
        for supervisor in supervisors
        for batch in supervisor.batches()
        if culprit.event_id in batch
    )
    assert crashes["isolated"] == ISOLATED_CRASH_LIMIT
    assert crashes["with others"] <= count
    assert sum(supervisor.crashes for supervisor in supervisors) == crashes.total()
    assert not await suspected(payments_database)


@pytest.mark.parametrize("count", [1, 3])
async def test_events_of_a_killed_process_are_handled_by_other_replicas_one_by_one(
    payments_database: Database, payments_url: str, tmp_path: Path, count: int
) -> None:
    received = [*events(count - 1), *events(1, ENDLESS)]
    await store(payments_database, received)
    lost = Supervisor("payments-0", tmp_path / "0.log", DATABASE_URL=payments_url, IGNORE_ENDLESS="false")

    async def is_at_work() -> bool:
        return bool(lost.batches())

    async with supervised(lost):
        await eventually(is_at_work)
    others = [Supervisor(f"payments-{n}", tmp_path / f"{n}.log", DATABASE_URL=payments_url) for n in (1, 2)]

    async def all_are_handled() -> bool:
        return await effects(payments_database) == ids(received)

    async with supervised(*others):
        await eventually(all_are_handled)
    handled = [batch for other in others for batch in other.batches()]
    assert sorted(handled) == sorted([event.event_id] for event in received)
    assert await dead_letters(payments_database) == []


# The tests below simulate a crash by a note that is not erased. A real crash leaves nothing else behind.


class Handle:
    """A handler that writes the effect of each event, and then raises `error` if it is set."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.batches: list[set[UUID]] = []

    async def __call__(self, connection: Connection, received: Sequence[WaitingEvent]) -> OnCommitted:
        self.batches.append(ids(received))
        for event in received:
            await connection.execute(EFFECT, str(event.event_id))
        if self.error is not None:
            raise self.error
        return lambda: None


@pytest.fixture
def handle() -> Handle:
    return Handle()


@pytest.fixture
def worker(payments_database: Database, handle: Handle) -> Inbox:
    return Inbox(payments_database, "payments-1", handle)


@pytest.fixture
def other(payments_database: Database, handle: Handle) -> Inbox:
    return Inbox(payments_database, "payments-2", handle)


async def simulate_crash(database: Database, *received: ReceivedEvent) -> None:
    await CrashGuard(database, "payments-0").write_note([event.event_id for event in received])


async def test_a_replica_that_finds_a_crash_leaves_no_note_of_its_own(
    payments_database: Database, worker: Inbox, other: Inbox, handle: Handle
) -> None:
    (event,) = events(1)
    await store(payments_database, [event])
    await simulate_crash(payments_database, event)
    await worker.process_batch()
    assert await suspected(payments_database) == {event.event_id: 1}
    assert await other.process_suspected()
    assert handle.batches == [{event.event_id}]
    assert await effects(payments_database) == {event.event_id}


async def test_suspected_events_with_the_fewest_crashes_come_first(
    payments_database: Database, worker: Inbox, other: Inbox, handle: Handle
) -> None:
    received = culprit, *others = events(3)
    await store(payments_database, received)
    await simulate_crash(payments_database, *received)
    await worker.process_batch()
    await simulate_crash(payments_database, culprit)
    for replica in (worker, other, worker):
        assert await replica.process_suspected()
    assert await suspected(payments_database) == {culprit.event_id: 1}
    assert await effects(payments_database) == ids(others)
    assert len(handle.batches) == 2


async def test_a_crash_that_two_replicas_find_is_counted_once(
    payments_database: Database, worker: Inbox, other: Inbox
) -> None:
    received = events(4)
    await store(payments_database, received[:2])
    await simulate_crash(payments_database, *received)
    await worker.process_batch()
    await store(payments_database, received[2:])  # another replica had locked these two
    await other.process_batch()
    assert await suspected(payments_database) == dict.fromkeys(ids(received), 0)


async def test_unsuspected_events_are_handled_in_the_next_batch(
    payments_database: Database, worker: Inbox, handle: Handle
) -> None:
    suspected_events, others = events(2), events(3)
    await store(payments_database, [*suspected_events, *others])
    await simulate_crash(payments_database, *suspected_events)
    await worker.process_batch()
    await worker.process_batch()
    assert handle.batches == [ids(others)]
    assert await suspected(payments_database) == dict.fromkeys(ids(suspected_events), 0)


async def test_suspected_events_do_not_wait_for_the_next_poll(
    payments_database: Database, worker: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "POLL_SECONDS", 600)
    (first,), held, fresh = events(1), events(2), events(2)

    async def has_handled(*received: ReceivedEvent) -> None:
        async def all_of_them() -> bool:
            return await effects(payments_database) == ids(received)

        await eventually(all_of_them, 10)

    async with running(worker):
        await store(payments_database, [first])
        worker.wake()
        await has_handled(first)
        await simulate_crash(payments_database, *held)
        await store(payments_database, [*held, *fresh])
        worker.wake()
        await has_handled(first, *held, *fresh)


@pytest.mark.parametrize("error", [ValueError("no"), ConnectionResetError("lost"), asyncio.CancelledError()])
async def test_a_failed_batch_leaves_no_note_and_counts_as_no_crash(
    payments_database: Database, worker: Inbox, other: Inbox, handle: Handle, error: BaseException
) -> None:
    received = events(3)
    await store(payments_database, received)
    handle.error = error
    with suppress(ConnectionResetError, asyncio.CancelledError):
        await worker.process_batch()
    assert await notes(payments_database) == []

    handle.error = None
    await rows(payments_database, "UPDATE inbox SET not_before = NULL")
    await other.process_batch()
    assert await effects(payments_database) == ids(received) == handle.batches[-1]
    assert await suspected(payments_database) == {}


@pytest.mark.parametrize(
    "on_commit",
    ["RAISE EXCEPTION 'no' USING ERRCODE = '40001'", "PERFORM pg_terminate_backend(pg_backend_pid())"],
    ids=["refused", "connection-lost"],
)
async def test_a_failed_commit_leaves_no_note_and_counts_as_no_crash(
    payments_database: Database, worker: Inbox, other: Inbox, handle: Handle, on_commit: str
) -> None:
    received = events(3)
    await store(payments_database, received)
    await rows(
        payments_database,
        f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {on_commit}; RETURN NULL; END$$",
    )
    await rows(
        payments_database,
        "CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON accounts DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    with pytest.raises((asyncpg.PostgresError, ConnectionError)):
        await worker.process_batch()
    assert await notes(payments_database) == []

    await rows(payments_database, "DROP TRIGGER fail ON accounts")
    await other.process_batch()
    assert await effects(payments_database) == ids(received) == handle.batches[-1]
    assert await suspected(payments_database) == {}


async def test_a_stopped_inbox_leaves_no_note(payments_database: Database, worker: Inbox) -> None:
    await store(payments_database, events(2))
    working = asyncio.create_task(worker.run())

    async def done() -> bool:
        return len(await effects(payments_database)) == 2

    await eventually(done)
    worker.stop()
    await working
    assert await notes(payments_database) == []


async def test_a_replica_that_lost_its_transaction_and_continues_does_no_harm(
    payments_database: Database, other: Inbox, handle: Handle
) -> None:
    """PostgreSQL ends the transaction of a frozen replica. Other replicas cannot distinguish that from a crash."""
    received = events(2)
    await store(payments_database, received)
    frozen, resumed = asyncio.Event(), asyncio.Event()

    async def freeze(connection: Connection, held: Sequence[WaitingEvent]) -> OnCommitted:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        await rows(payments_database, "SELECT pg_terminate_backend(:pid, 5000)", pid=pid)
        frozen.set()
        await resumed.wait()
        return await handle(connection, held)

    slow = asyncio.create_task(Inbox(payments_database, "payments-1", freeze).process_batch())
    await frozen.wait()
    await other.process_batch()
    while await other.process_suspected():
        pass
    resumed.set()
    with pytest.raises(Exception, match="connection"):
        await slow
    assert await effects(payments_database) == ids(received)
    assert await dead_letters(payments_database) == []
    assert await notes(payments_database) in ([], [[received[1].event_id]])


async def test_a_note_from_before_the_last_server_start_is_ignored(
    payments_database: Database, worker: Inbox, handle: Handle
) -> None:
    received = events(2)
    await store(payments_database, received)
    await simulate_crash(payments_database, *received)
    earlier = "UPDATE inbox_in_hand SET taken_at = pg_postmaster_start_time() - interval '1 second'"
    await rows(payments_database, earlier)
    await worker.process_batch()
    assert handle.batches == [ids(received)]


async def test_a_suspected_event_that_fails_is_retried_with_backoff_in_isolation(
    payments_database: Database, worker: Inbox, handle: Handle
) -> None:
    (event,) = events(1)
    await store(payments_database, [event])
    await simulate_crash(payments_database, event)
    await worker.process_batch()
    handle.error = ValueError("no")
    assert await worker.process_suspected()
    (row,) = await rows(payments_database, "SELECT attempts, last_error, not_before > now() AS waits FROM inbox")
    assert row == (1, "ValueError('no')", True)
    assert await suspected(payments_database) == {event.event_id: 1}

    handle.error = None
    assert not await worker.process_suspected()
    await rows(payments_database, "UPDATE inbox SET not_before = NULL")
    assert await worker.process_batch() == 0
    assert await Inbox(payments_database, "payments-2", handle).process_suspected()
    assert await effects(payments_database) == {event.event_id}


async def test_bisecting_does_not_claim_suspected_events(payments_database: Database, worker: Inbox) -> None:
    suspected_event, other = events(2)
    await store(payments_database, [suspected_event, other])
    await simulate_crash(payments_database, suspected_event)
    await worker.process_batch()
    async with payments_database.begin() as connection:
        found = await inbox_store.claim_by_id(connection, [suspected_event.event_id, other.event_id])
    assert ids(found) == {other.event_id}


async def test_notes_of_processed_events_are_deleted_when_the_next_crash_is_found(
    payments_database: Database, worker: Inbox
) -> None:
    done, second = events(2), events(1)
    await store(payments_database, done)
    await simulate_crash(payments_database, *done)
    await worker.process_batch()
    while await worker.process_suspected():
        pass
    await store(payments_database, second)
    await simulate_crash(payments_database, *second)
    await worker.process_batch()
    assert await notes(payments_database) == []


async def test_an_idle_inbox_leaves_no_note(payments_database: Database, worker: Inbox) -> None:
    await store(payments_database, events(2))

    async def is_done_without_a_note() -> bool:
        return len(await effects(payments_database)) == 2 and await notes(payments_database) == []

    async with running(worker):
        await eventually(is_done_without_a_note)
