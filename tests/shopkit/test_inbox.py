import asyncio
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import pytest

from shopkit.db.database import Connection, Database
from shopkit.messaging import inbox, inbox_store
from shopkit.messaging.inbox import ATTEMPTS, Inbox, OnCommitted
from shopkit.messaging.inbox_store import WaitingEvent
from shopkit.runtime import retry
from tests.servers import rows, running, stalls, stands_still, succeeds
from tests.shopkit.inbox_events import EFFECT, effects, events, ids, store
from tests.support import eventually

pytestmark = pytest.mark.usefixtures("every_read_sweeps")


class Handle:
    """A handler that writes the effect of each event. It raises `error` if the batch has an event of `poison`."""

    def __init__(self) -> None:
        self.poison: set[UUID] = set()
        self.error: Exception = ValueError("poison")
        self.failures = 0

    async def __call__(self, connection: Connection, received: Sequence[WaitingEvent]) -> OnCommitted:
        for event in received:
            await connection.execute(EFFECT, str(event.event_id))
        if self.poison & {event.event_id for event in received}:
            self.failures += 1
            raise self.error
        return do_nothing


def do_nothing() -> None:
    """The `OnCommitted` of a handler that has nothing to do after the commit."""


@pytest.fixture
def handle() -> Handle:
    return Handle()


@pytest.fixture
def worker(payments_database: Database, handle: Handle) -> Inbox:
    return Inbox(payments_database, "payments-1", handle)


async def processed(database: Database) -> set[UUID]:
    return {
        row.event_id for row in await rows(database, "SELECT event_id FROM inbox WHERE processed_at IS NOT NULL")
    }


async def test_a_redelivered_event_is_stored_once(payments_database: Database) -> None:
    first, second = events(2)
    assert await store(payments_database, [first, first]) == 1
    assert await store(payments_database, [second, first]) == 1
    stored = await rows(payments_database, "SELECT event_id FROM inbox ORDER BY seq")
    assert [row.event_id for row in stored] == [first.event_id, second.event_id]


async def test_replicas_that_store_the_same_events_in_different_orders_do_not_deadlock(
    payments_database: Database,
) -> None:
    first, second = events(2)
    async with payments_database.begin() as other_transaction:
        await inbox_store.store(other_transaction, [first], "payments-2")
        storing = asyncio.create_task(store(payments_database, [second, first]))
        await eventually(partial(stands_still, payments_database))
        assert await inbox_store.store(other_transaction, [second], "payments-2") == 1
    assert await storing == 0


async def test_effects_and_processed_marks_commit_in_one_transaction(
    payments_database: Database, worker: Inbox
) -> None:
    received = events(3)
    await store(payments_database, received)
    assert await worker.process_batch() == 3
    same = "SELECT 1 FROM inbox JOIN accounts ON user_id = event_id::text AND inbox.xmin = accounts.xmin"
    assert len(await rows(payments_database, same)) == 3
    assert await worker.process_batch() == 0


async def test_an_event_redelivered_after_processing_has_no_effect(
    payments_database: Database, worker: Inbox
) -> None:
    received = events(1)
    await store(payments_database, received)
    await worker.process_batch()
    await store(payments_database, received)
    assert await worker.process_batch() == 0


@pytest.mark.parametrize("position", [0, 4, 8])
async def test_a_failing_event_is_isolated_and_the_others_are_processed(
    payments_database: Database, worker: Inbox, handle: Handle, position: int
) -> None:
    received = events(9)
    poison = received[position].event_id
    handle.poison = {poison}
    await store(payments_database, received)
    await worker.process_batch()

    assert await processed(payments_database) == ids(received) - {poison} == await effects(payments_database)
    (row,) = await rows(
        payments_database,
        "SELECT attempts, last_error, not_before > now() AS waits FROM inbox WHERE event_id = :poison",
        poison=poison,
    )
    assert row == (1, "ValueError('poison')", True)
    assert await worker.process_batch() == 0  # the next attempt is not due yet


async def test_bisecting_skips_events_that_another_worker_has_processed(
    payments_database: Database, handle: Handle
) -> None:
    other = Inbox(payments_database, "payments-2", handle)
    batches: list[set[UUID]] = []

    async def fail_on_first_call(_: Connection, claimed: Sequence[WaitingEvent]) -> OnCommitted:
        batches.append(ids(claimed))
        if len(claimed) == 2:
            raise ValueError("poison")
        await other.process_batch()
        return do_nothing

    first, second = events(2)
    await store(payments_database, [first, second])
    await Inbox(payments_database, "payments-1", fail_on_first_call).process_batch()
    assert batches == [ids([first, second]), ids([first])]
    assert await effects(payments_database) == ids([second])
    assert not await rows(payments_database, "SELECT 1 FROM inbox WHERE lonely_crashes IS NOT NULL")


async def test_a_failing_event_is_dead_lettered_after_the_last_attempt(
    payments_database: Database, worker: Inbox, handle: Handle
) -> None:
    (poison,) = events(1)
    handle.poison = {poison.event_id}
    await store(payments_database, [poison])
    for attempts in range(1, ATTEMPTS + 1):
        assert not await rows(payments_database, "SELECT 1 FROM dead_letters")
        await rows(payments_database, "UPDATE inbox SET not_before = now()")
        await worker.process_batch()
        (row,) = await rows(payments_database, "SELECT attempts FROM inbox")
        assert row.attempts == attempts
    (letter,) = await rows(payments_database, "SELECT event_id, type, event, attempts, error FROM dead_letters")
    assert letter == (poison.event_id, poison.type, poison.event, ATTEMPTS, "ValueError('poison')")
    assert await processed(payments_database) == {poison.event_id}
    assert await effects(payments_database) == set()


async def test_an_event_that_succeeds_on_a_later_attempt_is_processed(
    payments_database: Database, worker: Inbox, handle: Handle
) -> None:
    received = events(1)
    handle.poison = ids(received)
    await store(payments_database, received)
    await worker.process_batch()
    handle.poison = set()
    await rows(payments_database, "UPDATE inbox SET not_before = now()")
    await worker.process_batch()
    assert await processed(payments_database) == ids(received) == await effects(payments_database)


async def test_a_transient_error_does_not_count_as_an_attempt(
    payments_database: Database, worker: Inbox, handle: Handle
) -> None:
    received = events(2)
    handle.poison, handle.error = ids(received[:1]), ConnectionResetError("lost")
    await store(payments_database, received)
    with pytest.raises(ConnectionResetError):
        await worker.process_batch()
    assert await effects(payments_database) == set()
    assert {row.attempts for row in await rows(payments_database, "SELECT attempts FROM inbox")} == {0}


async def test_an_inbox_continues_after_transient_and_content_errors(
    payments_database: Database, worker: Inbox, handle: Handle
) -> None:
    good, bad = events(2)
    handle.poison, handle.error = {bad.event_id}, ConnectionResetError("lost")
    await store(payments_database, [good, bad])

    async def failed_twice() -> bool:
        return handle.failures >= 2

    async def good_is_processed() -> bool:
        return await processed(payments_database) == {good.event_id}

    async with running(worker):
        await eventually(failed_twice)
        handle.error = ValueError("poison")
        await eventually(good_is_processed)
        (later,) = events(1)
        await store(payments_database, [later])
        worker.wake()

        async def later_is_processed() -> bool:
            return later.event_id in await processed(payments_database)

        await eventually(later_is_processed)


async def test_an_inbox_whose_batches_fail_for_too_long_is_not_ready(
    payments_database: Database, worker: Inbox, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "STALLED_SECONDS", 0.1)
    received = events(1)
    handle.poison, handle.error = ids(received), ConnectionResetError("lost")
    await store(payments_database, received)
    async with running(worker):
        await stalls(worker.check)
        handle.poison = set()
        await succeeds(worker.check)
    assert await processed(payments_database) == ids(received)


async def test_concurrent_inboxes_claim_different_events(
    payments_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "INBOX_BATCH_SIZE", 10)
    received = events(20)
    await store(payments_database, received)
    both_have_claimed = asyncio.Barrier(2)
    claims: list[set[UUID]] = []

    async def handle(_: Connection, claimed: Sequence[WaitingEvent]) -> OnCommitted:
        claims.append(ids(claimed))
        async with asyncio.timeout(5):
            await both_have_claimed.wait()
        return do_nothing

    workers = [Inbox(payments_database, "payments-1", handle) for _ in range(2)]
    assert await asyncio.gather(*(worker.process_batch() for worker in workers)) == [10, 10]
    assert claims[0] | claims[1] == ids(received)


async def test_concurrent_inboxes_process_each_event_once(
    payments_database: Database, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "INBOX_BATCH_SIZE", 7)
    received = events(100)
    workers = [Inbox(payments_database, "payments-1", handle) for _ in range(3)]
    await store(payments_database, received)
    async with running(*workers):

        async def all_processed() -> bool:
            return await processed(payments_database) == ids(received)

        await eventually(all_processed)
    assert await effects(payments_database) == ids(received)
    assert not await rows(payments_database, "SELECT 1 FROM inbox WHERE attempts > 0")
