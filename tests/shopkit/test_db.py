import asyncio

import asyncpg
import pytest

from shopkit.db.database import Database
from tests.servers import rows


async def test_an_open_transaction_is_rolled_back_when_its_connection_is_released(
    payments_database: Database,
) -> None:
    async with payments_database.autocommit() as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO accounts (user_id) VALUES ('ann')")
    async with payments_database.autocommit() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == backend
        assert await connection.fetchval("SELECT count(*) FROM accounts") == 0


async def test_a_transaction_block_that_raises_is_rolled_back(payments_database: Database) -> None:
    async def fail_after_insert() -> None:
        async with payments_database.begin() as connection:
            await connection.execute("INSERT INTO accounts (user_id) VALUES ('ann')")
            await connection.execute("SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await fail_after_insert()
    assert not await rows(payments_database, "SELECT * FROM accounts")


async def test_a_failed_rollback_does_not_hide_the_original_error(payments_database: Database) -> None:
    busy: list[asyncio.Task[str]] = []
    used: list[int] = []

    async def raise_while_busy() -> None:
        async with payments_database.begin() as connection:
            used.append(await connection.fetchval("SELECT pg_backend_pid()"))
            busy.append(asyncio.create_task(connection.execute("SELECT pg_sleep(60)")))
            await asyncio.sleep(0)  # the statement has begun, so no other can
            raise LookupError("ours")

    with pytest.raises(LookupError, match="ours"):
        await raise_while_busy()
    with pytest.raises(asyncpg.PostgresConnectionError):
        await busy[0]
    async with payments_database.begin() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") not in used
