"""The PostgreSQL database of a service: its pool of connections, its migration at start, and its readiness.

Services use asyncpg directly, because SQLAlchemy cost too much processor time per order. SQLAlchemy only describes
the tables and migrates them (docs/adr/0015-asyncpg-at-run-time.md).
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal, Protocol

import asyncpg
import structlog

from shopkit.db.connect import connector
from shopkit.db.migrations import NotMigrated, migrate, require_migrated
from shopkit.runtime.retry import Backoff, first_of, is_transient, pause

POOL_SIZE = 10
WAIT_FOR_CONNECTION_SECONDS = 8  # more than the 5 s after which a host that does not respond is given up

Migrating = Literal["on", "off"]

log = structlog.get_logger()


class Row(asyncpg.Record):
    """A row whose columns are also attributes. Unpacking a row is faster than reading attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Connection(Protocol):
    """The methods of an asyncpg connection that services use. `args` are the values of `$1`, `$2` and so on."""

    async def fetch(self, query: str, *args: Any) -> list[Row]: ...

    async def fetchrow(self, query: str, *args: Any) -> Row | None:
        """Returns the first row, or None if there is none."""
        ...

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Returns the first column of the first row, or None if there is no row."""
        ...

    async def execute(self, query: str, *args: Any) -> str:
        """Returns the tag of the command, such as `UPDATE 2`."""
        ...


class Database:
    """A worker that opens and closes the connection pool of one database.

    `package` is the service whose `migrations` folder describes the schema. With `migrating` "on", `open` migrates
    the database. With "off", it waits until an operator or a job has run `python -m gozon migrate`.
    """

    def __init__(self, url: str, package: str, migrating: Migrating = "on") -> None:
        self.url = url
        self._package = package
        self._prepare = migrate if migrating == "on" else require_migrated
        self._stopping = asyncio.Event()
        self._migrated = asyncio.Event()
        self._pool: Any = None  # asyncpg has no types

    async def run(self) -> None:
        await self.open()
        await self._stopping.wait()
        await self.close()

    async def open(self) -> None:
        """Returns when the server is available and its schema is migrated, or after `stop`.

        Waits without a time limit.
        """
        backoff = Backoff(most=5)
        while not self._stopping.is_set():
            try:
                await self._prepare(self.url, self._package)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("database unavailable, retrying", error=repr(error))
                await pause(self._stopping, backoff.next())
            else:
                self._pool = await _pool(self.url)
                self._migrated.set()
                return

    async def close(self) -> None:
        """Waits until all connections are released, and closes the pool."""
        if self._pool is not None:
            await self._pool.close()

    def stop(self) -> None:
        self._stopping.set()

    async def wait_migrated(self, stopping: asyncio.Event) -> bool:
        """Waits until the pool is open. Returns False if `stopping` is set before that."""
        await first_of(self._migrated, stopping)
        return self._migrated.is_set()

    async def check(self) -> None:
        """Raises an error if the database cannot be queried within 2 seconds."""
        async with asyncio.timeout(2), self.autocommit() as connection:
            await connection.fetchval("SELECT 1")

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Connection]:
        """Begins a transaction. Commits at the end of the block, or rolls back if the block raises."""
        async with self._acquired() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            await transaction.commit()

    @asynccontextmanager
    async def autocommit(self) -> AsyncGenerator[Connection]:
        """Yields a connection on which each statement is its own transaction: one round trip instead of three."""
        async with self._acquired() as connection:
            yield connection

    @asynccontextmanager
    async def _acquired(self) -> AsyncGenerator[Any]:
        if self._pool is None:
            raise NotMigrated(f"the database of {self._package} is not ready")
        async with asyncio.timeout(WAIT_FOR_CONNECTION_SECONDS):
            connection = await self._usable()
        try:
            yield connection
        finally:
            await self._pool.release(connection)

    async def _usable(self) -> Any:
        """Takes a connection from the pool. Closes connections to a server that has become read-only."""
        while (connection := await self._pool.acquire()).get_settings().default_transaction_read_only == "on":
            connection.terminate()
            await self._pool.release(connection)
        return connection


async def _roll_back(connection: Any, transaction: Any) -> None:
    """Rolls back. Closes the connection if that fails; the server then rolls back by itself."""
    if connection.is_closed():
        return
    try:
        await transaction.rollback()
    except Exception as error:  # noqa: BLE001 (must not hide the error that is the reason for the rollback)
        log.warning("rollback failed", error=repr(error))
        connection.terminate()


async def _pool(url: str) -> Any:
    """Returns a pool without connections. It connects on demand.

    It reuses the idle connection that was used last, because the caches of its backend are warm.
    """
    return await asyncpg.create_pool(
        connect=connector(url),
        min_size=0,
        max_size=POOL_SIZE,
        max_inactive_connection_lifetime=0,
        reset=_nothing_to_reset,
        record_class=Row,
    )


async def _nothing_to_reset(_connection: object) -> None:
    """Replaces asyncpg's reset of a released connection, which would cost one more round trip.

    There is nothing to reset: no statement of ours changes its session, and asyncpg has rolled back an open
    transaction before it calls this.
    """
