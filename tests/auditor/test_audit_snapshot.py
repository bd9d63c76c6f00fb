from uuid import UUID

import pytest
from sqlalchemy import text

from auditor.snapshot import BATCH, AuditSnapshot, Unreadable, open_database
from shopkit.db.database import Database
from tests.servers import rows

COUNT = text("SELECT count(*) FROM accounts")


async def counted(snapshot: AuditSnapshot) -> int:
    (row,) = await snapshot.rows(COUNT, {})
    return row["count"]


async def test_a_snapshot_does_not_change_after_it_is_taken(payments_database: Database, payments_url: str) -> None:
    async with open_database("payments", payments_url) as snapshot:
        await rows(payments_database, "INSERT INTO accounts (user_id) VALUES ('ann')")
        await snapshot.take()
        await rows(payments_database, "INSERT INTO accounts (user_id) VALUES ('bob')")
        assert await counted(snapshot) == 1
        streamed = [row.user_id async for row in snapshot.stream(text("SELECT user_id FROM accounts"), {})]
        assert streamed == ["ann"]


async def test_nothing_can_be_written_through_a_snapshot(payments_url: str) -> None:
    async with open_database("payments", payments_url) as snapshot:
        with pytest.raises(Unreadable, match="cannot execute INSERT in a read-only"):
            await snapshot.rows(text("INSERT INTO accounts (user_id) VALUES ('ann')"), {})


async def test_a_stream_yields_several_batches_in_order(payments_url: str) -> None:
    numbers = text("SELECT n FROM generate_series(1, CAST(:count AS integer)) AS n")
    async with open_database("payments", payments_url) as snapshot:
        streamed = [row.n async for row in snapshot.stream(numbers, {"count": 2 * BATCH + 1})]
    assert streamed == list(range(1, 2 * BATCH + 2))


async def test_a_stream_is_read_lazily(payments_url: str) -> None:
    last_cannot_be_computed = text("SELECT 1 / (:count - n) AS n FROM generate_series(1, :count) AS n")
    async with open_database("payments", payments_url) as snapshot:
        stream = snapshot.stream(last_cannot_be_computed, {"count": 5 * BATCH})
        for _ in range(3 * BATCH):
            await anext(stream)
        with pytest.raises(Unreadable, match="division by zero"):
            [row async for row in stream]


async def test_python_and_postgresql_sort_ids_equally(payments_url: str) -> None:
    ids = [UUID(int=byte << shift | 1) for shift in (0, 8, 56, 64, 120) for byte in (0, 1, 0x7F, 0x80, 0xFF)]
    query = text("SELECT id FROM unnest(CAST(:ids AS uuid[])) AS id ORDER BY id")
    async with open_database("payments", payments_url) as snapshot:
        ordered = [row.id async for row in snapshot.stream(query, {"ids": ids})]
    assert ordered == sorted(ids)
    assert ordered == sorted(ordered)


async def test_a_lost_connection_raises_unreadable(payments_database: Database, payments_url: str) -> None:
    async def cut_off() -> None:
        async with open_database("payments", payments_url) as snapshot:
            (own,) = await snapshot.rows(text("SELECT pg_backend_pid() AS backend"), {})
            await rows(payments_database, "SELECT pg_terminate_backend(:backend)", **own)
            await counted(snapshot)

    with pytest.raises(Unreadable, match="cannot read the payments database"):
        await cut_off()
