"""Tests of the low-water mark, beside an open snapshot that keeps all deleted rows."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from orders.messages import order_created
from shopkit.db.database import Connection, Database
from shopkit.messaging import inbox_store, low_water_mark, outbox
from shopkit.messaging.inbox_store import ReceivedEvent
from shopkit.messaging.low_water_mark import LowWaterMark

ENTRIES_READ = "SELECT pg_stat_get_xact_tuples_returned('{index}'::regclass)"


async def put(database: Database, count: int) -> None:
    async with database.begin() as connection:
        await outbox.add(connection, [order_created(uuid4(), "ann", 100) for _ in range(count)])


async def take(database: Database, mark: LowWaterMark, limit: int = 500) -> tuple[int, int]:
    """Returns how many events one committed pass took, and how many index entries it read for them."""
    async with database.begin() as connection:
        before = await connection.fetchval(ENTRIES_READ.format(index="outbox_pkey"))
        taken = len(await outbox.take(connection, limit, mark))
        read = await connection.fetchval(ENTRIES_READ.format(index="outbox_pkey")) - before
    mark.on_committed()
    return taken, read


async def empty(database: Database, mark: LowWaterMark) -> None:
    while (await take(database, mark))[0]:
        pass


@asynccontextmanager
async def open_snapshot(database: Database) -> AsyncGenerator[Connection]:
    async with database.begin() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await connection.fetchval("SELECT 1")
        yield connection


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes sweeps and moves of the mark follow each other within 50 ms, so that tests need not wait."""
    monkeypatch.setattr(low_water_mark, "MARK_SECONDS", 0.05)
    monkeypatch.setattr(low_water_mark, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(low_water_mark, "SWEEP_PAUSE_FACTOR", 0)


async def move_mark(database: Database, mark: LowWaterMark) -> None:
    """Waits for two moves of the mark. It then is the highest id that was committed before."""
    for _ in range(2):
        await asyncio.sleep(0.06)
        await take(database, mark)


@pytest.mark.usefixtures("sweeps")
async def test_a_relay_pass_does_not_read_dead_rows(orders_database: Database) -> None:
    mark = LowWaterMark()
    async with open_snapshot(orders_database):
        for _ in range(5):
            await put(orders_database, 1_000)
            await empty(orders_database, mark)
        await move_mark(orders_database, mark)
        await put(orders_database, 10)
        taken, read = await take(orders_database, mark)
    assert taken == 10
    # The pass reads its rows twice: to lock them and to delete them.
    assert read < 100


async def store(database: Database, count: int) -> None:
    async with database.begin() as connection:
        received = [ReceivedEvent(uuid4(), "order.created", b"{}") for _ in range(count)]
        await inbox_store.store(connection, received, "payments-1")


async def process(database: Database, mark: LowWaterMark) -> tuple[int, int]:
    """Returns how many events one committed batch processed, and how many index entries it read for its claim."""
    async with database.begin() as connection:
        before = await connection.fetchval(ENTRIES_READ.format(index="inbox_waiting"))
        claimed = await inbox_store.claim_oldest(connection, mark, 500)
        read = await connection.fetchval(ENTRIES_READ.format(index="inbox_waiting")) - before
        await inbox_store.mark_processed(connection, [event.event_id for event in claimed])
    mark.on_committed()
    return len(claimed), read


@pytest.mark.usefixtures("sweeps")
async def test_an_inbox_claim_does_not_read_dead_rows(payments_database: Database) -> None:
    mark = LowWaterMark()
    async with open_snapshot(payments_database):
        for _ in range(5):
            await store(payments_database, 1_000)
            while (await process(payments_database, mark))[0]:
                pass
        for _ in range(2):
            await asyncio.sleep(0.06)
            await process(payments_database, mark)
        await store(payments_database, 10)
        claimed, read = await process(payments_database, mark)
    assert claimed == 10
    assert read < 100


@pytest.mark.usefixtures("sweeps")
async def test_a_sweep_finds_a_row_that_was_committed_late(orders_database: Database) -> None:
    mark = LowWaterMark()
    async with orders_database.begin() as late:
        await outbox.add(late, [order_created(uuid4(), "ann", 100)])
        await put(orders_database, 10)
        await empty(orders_database, mark)
        await move_mark(orders_database, mark)
    assert (await take(orders_database, mark))[0] == 0  # the row is below the mark
    await asyncio.sleep(0.06)
    assert (await take(orders_database, mark))[0] == 1


@pytest.mark.usefixtures("sweeps")
async def test_a_rolled_back_pass_does_not_move_the_mark(orders_database: Database) -> None:
    mark = LowWaterMark()
    await put(orders_database, 10)

    async def fail_after_taking() -> None:
        async with orders_database.begin() as connection:
            assert len(await outbox.take(connection, 500, mark)) == 10
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_taking()
    await move_mark(orders_database, LowWaterMark())
    assert (await take(orders_database, mark))[0] == 0  # the call above has taken them


async def test_the_mark_moves_while_long_sweeps_are_rare(
    orders_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = LowWaterMark()

    async def read_after(pg_sleep_seconds: float) -> int:
        query = f"SELECT 7, $2::bigint, $1::int, pg_sleep({pg_sleep_seconds})"
        async with orders_database.begin() as connection:
            ((_, after, *_),) = await mark.fetch(connection, query, 1)
        mark.on_committed()
        return after

    monkeypatch.setattr(low_water_mark, "MARK_SECONDS", 0.0)
    monkeypatch.setattr(low_water_mark, "SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(low_water_mark, "SWEEP_PAUSE_FACTOR", 10_000)
    assert await read_after(0.05) == 0  # a sweep: the next one is due in 500 s
    assert [await read_after(0) for _ in range(2)] == [0, 7]
