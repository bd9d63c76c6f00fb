"""A service's own PostgreSQL database: a pool of connections, and whether it can be reached.

What services run goes to asyncpg as it stands; what SQLAlchemy in between cost is in docs/performance.md.
SQLAlchemy describes the tables and migrates them.
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
WAIT_FOR_CONNECTION_SECONDS = 8  # a host that says nothing takes five of them

Migrating = Literal["on", "off"]

log = structlog.get_logger()


class Row(asyncpg.Record):
    """Columns are attributes; unpacking is faster."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Connection(Protocol):
    """What is used of asyncpg's. Arguments take the places of `$1`, `$2` and so on."""

    async def fetch(self, query: str, *args: Any) -> list[Row]: ...

    async def fetchrow(self, query: str, *args: Any) -> Row | None:
        """The first row."""
        ...

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first column of the first row; None without one."""
        ...

    async def execute(self, query: str, *args: Any) -> str:
        """Returns the command's tag, such as `UPDATE 2`."""
        ...


class Database:
    """`package` names the service whose `migrations` folder brings the schema up to date.

    With `migrating` off somebody else does that (`python -m gozon migrate`), and is waited for.
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
        """Returns when the server is there and its schema is new enough, however long that takes."""
        backoff = Backoff(most=5)
        while not self._stopping.is_set():
            try:
                await self._prepare(self.url, self._package)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("database is away", error=repr(error))
                await pause(self._stopping, backoff.next())
            else:
                self._pool = await _pool(self.url)
                self._migrated.set()
                return

    async def close(self) -> None:
        """Waits for those who have a connection."""
        if self._pool is not None:
            await self._pool.close()

    def stop(self) -> None:
        self._stopping.set()

    async def wait_migrated(self, stopping: asyncio.Event) -> bool:
        """False when `stopping` is set before that."""
        await first_of(self._migrated, stopping)
        return self._migrated.is_set()

    async def check(self) -> None:
        async with asyncio.timeout(2), self.at_once() as connection:
            await connection.fetchval("SELECT 1")

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Connection]:
        """A transaction: commits at the end of the block, rolls back when the block raises."""
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
        """A connection on which each statement is a transaction of its own: one round trip instead of three."""
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
        """Leaves those of a server that has told that it takes no writes any more."""
        while (connection := await self._pool.acquire()).get_settings().default_transaction_read_only == "on":
            connection.terminate()
            await self._pool.release(connection)
        return connection


async def _roll_back(connection: Any, transaction: Any) -> None:
    """A connection that cannot is given up: its server then rolls back by itself."""
    if connection.is_closed():
        return
    try:
        await transaction.rollback()
    except Exception as error:  # noqa: BLE001 (raised is what this is done for, and not what became of it)
        log.warning("rollback failed", error=repr(error))
        connection.terminate()


async def _pool(url: str) -> Any:
    """Connects when somebody asks. Of idle connections the one used last comes first: its backend is warm."""
    return await asyncpg.create_pool(
        connect=connector(url),
        min_size=0,
        max_size=POOL_SIZE,
        max_inactive_connection_lifetime=0,
        reset=_nothing_to_reset,
        record_class=Row,
    )


async def _nothing_to_reset(_connection: object) -> None:
    """asyncpg's own would be one more round trip, and no statement of ours changes its session.

    A transaction that was left open is rolled back by asyncpg before this.
    """
