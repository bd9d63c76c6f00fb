import asyncio

import asyncpg
import pytest

from shopkit.db.database import Database
from tests.servers import rows


async def test_what_somebody_left_uncommitted_is_nobody_elses(payments_database: Database) -> None:
    async with payments_database.autocommit() as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO accounts (user_id) VALUES ('ann')")
    async with payments_database.autocommit() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == backend
        assert await connection.fetchval("SELECT count(*) FROM accounts") == 0


async def test_a_block_that_raises_leaves_nothing(payments_database: Database) -> None:
    async def half_of_it() -> None:
        async with payments_database.begin() as connection:
            await connection.execute("INSERT INTO accounts (user_id) VALUES ('ann')")
            await connection.execute("SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await half_of_it()
    assert not await rows(payments_database, "SELECT * FROM accounts")


async def test_a_rollback_that_fails_does_not_hide_why_it_was_needed(payments_database: Database) -> None:
    busy: list[asyncio.Task[str]] = []
    used: list[int] = []

    async def leave_it_busy() -> None:
        async with payments_database.begin() as connection:
            used.append(await connection.fetchval("SELECT pg_backend_pid()"))
            busy.append(asyncio.create_task(connection.execute("SELECT pg_sleep(60)")))
            await asyncio.sleep(0)  # it has begun, and no other statement can
            raise LookupError("ours")

    with pytest.raises(LookupError, match="ours"):
        await leave_it_busy()
    with pytest.raises(asyncpg.PostgresConnectionError):
        await busy[0]
    async with payments_database.begin() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") not in used
