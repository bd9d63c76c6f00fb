"""A service's own PostgreSQL database: its connections, its migrations, whether it can be reached.

What services run goes to asyncpg as it stands; what SQLAlchemy in between cost is in docs/performance.md.
SQLAlchemy describes the tables and migrates them.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, Literal, Protocol, cast

import asyncpg
import structlog
from alembic import command, context
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import MetaData, pool, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shopkit.addresses import one_by_one
from shopkit.retry import Backoff, first_of, is_transient, pause

# Any number will do as long as no other lock in the database uses it.
MIGRATION_LOCK = 4_206_001
MOST_CONNECTIONS = 10
WAIT_FOR_CONNECTION_SECONDS = 8  # a host that says nothing takes five of them

Migrating = Literal["on", "off"]

log = structlog.get_logger()


CONNECT: dict[str, Any] = {
    "timeout": 5,
    "command_timeout": 15,
    # Of several hosts the one that is the primary, whatever the address says.
    "target_session_attrs": "read-write",
    "server_settings": {
        "application_name": "gozon",
        "jit": "off",
        # Plans are made and kept while the table of a queue is empty, and then meet a hundred thousand rows. Only
        # the walk along an index takes the oldest few without reading and sorting all of them for each batch.
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        # A frozen replica must not hold rows, or the migration lock, for ever. Longer than a confirm may take.
        "idle_in_transaction_session_timeout": "30s",
        "lock_timeout": "10s",
    },
}


def connector(url: str, connect: Mapping[str, Any] = CONNECT) -> Callable[..., Awaitable[Any]]:
    """What connects to the first of the hosts in `url` that can be used, beginning with the last that could.

    asyncpg tries several as well, but has one time limit for them all, which a host that says nothing uses up.
    """
    hosts = one_by_one(url)
    # The name of a host that is away may take long to resolve, and a process has four threads that do it.
    one_at_a_time = asyncio.Lock()

    async def one_of(host: str, *others: str, **options: Any) -> Any:
        try:
            connection = await _connected(host, {**connect, **options})
        except Exception as error:
            if not others or not is_transient(error):
                raise
            return await one_of(*others, **options)
        hosts.sort(key=host.__ne__)
        return connection

    async def connected(_address: object = None, **options: Any) -> Any:  # asyncpg's pool gives its own, too
        async with one_at_a_time:
            return await one_of(*hosts, **options)

    return connected


async def _connected(host: str, options: Mapping[str, Any]) -> Any:
    try:
        return cast("Any", await asyncpg.connect(host, **options))
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise ConnectionError("not the primary") from error


def engine_at(url: str, connect: Mapping[str, Any] = CONNECT, **options: Any) -> AsyncEngine:
    """SQLAlchemy on such a connection; its own form of an address has one host."""
    return create_async_engine("postgresql+asyncpg://", async_creator=connector(url, connect), **options)


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


def affected(tag: str) -> int:
    """The number of rows in a command's tag."""
    return int(tag.rpartition(" ")[2])


class NotMigrated(ConnectionError):
    """The database was not reached yet since this process started, or its schema is older than this release."""


class Database:
    """`package` names the service whose `migrations` folder brings the schema up to date.

    With `migrating` off somebody else does that (`python -m shopkit migrate`), and is waited for.
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
                if not connection.is_closed():  # a server that lost the connection rolls back by itself
                    await transaction.rollback()
                raise
            await transaction.commit()

    @asynccontextmanager
    async def at_once(self) -> AsyncGenerator[Connection]:
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


async def _pool(url: str) -> Any:
    """Connects when somebody asks. Of idle connections the one used last comes first: its backend is warm."""
    return await asyncpg.create_pool(
        connect=connector(url),
        min_size=0,
        max_size=MOST_CONNECTIONS,
        max_inactive_connection_lifetime=0,
        reset=_nothing_to_reset,
        record_class=Row,
    )


async def _nothing_to_reset(_connection: object) -> None:
    """asyncpg's own would be one more round trip, and no statement of ours changes its session.

    A transaction that was left open is rolled back by asyncpg before this.
    """


async def migrate(url: str, package: str) -> str:
    """Brings the schema to its newest version, and leaves a newer one alone; returns which one it has.

    Replicas that start together take turns.
    """
    config = _config(package)
    # No time limit: an index of a large table takes what it takes.
    engine = engine_at(url, CONNECT | {"command_timeout": None}, poolclass=pool.NullPool)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})

        def upgrade(sync_connection: SyncConnection) -> str:
            if _revision(sync_connection) < _newest(config):
                config.attributes["connection"] = sync_connection
                command.upgrade(config, "head")
            return _revision(sync_connection)

        return await connection.run_sync(upgrade)


async def require_migrated(url: str, package: str) -> None:
    """Raises NotMigrated while the schema is older than the newest version that this release knows."""
    newest = _newest(_config(package))
    async with engine_at(url, poolclass=pool.NullPool).connect() as connection:
        revision = await connection.run_sync(_revision)
    if revision < newest:
        raise NotMigrated(f"the schema of {package} is at {revision or 'nothing'} and not yet at {newest}")


def _config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files(package) / "migrations"))
    return config


def _newest(config: Config) -> str:
    return ScriptDirectory.from_config(config).get_current_head() or ""


def _revision(connection: SyncConnection) -> str:
    """Revisions are numbers of four digits, so that one this release does not know is seen to be a later one."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def run_migrations(metadata: MetaData) -> None:
    """The whole of a service's `migrations/env.py`."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    context.run_migrations()
