import asyncpg
import pytest

from shopkit.db import Database
from tests.servers import rows


async def test_what_somebody_left_uncommitted_is_nobody_elses(payments_database: Database) -> None:
    async with payments_database.at_once() as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO accounts (user_id) VALUES ('ann')")
    async with payments_database.at_once() as connection:
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
