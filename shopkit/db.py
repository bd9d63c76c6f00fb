"""A service's own PostgreSQL database: its engine, its migrations, whether it can be reached."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, Literal, cast

import asyncpg
import structlog
from alembic import command, context
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, event, pool, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shopkit.addresses import one_by_one
from shopkit.retry import Backoff, first_of, is_transient, pause

# Any number will do as long as no other lock in the database uses it.
MIGRATION_LOCK = 4_206_001

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


def engine_at(url: str, connect: Mapping[str, Any] = CONNECT, **options: Any) -> AsyncEngine:
    """Takes libpq's form of an address, with several hosts, which SQLAlchemy does not read.

    asyncpg can try several, but has one time limit for them all, which a host that says nothing uses up.
    """
    hosts = one_by_one(url)
    # The names of hosts that are away may take long to resolve, and a process has four threads that do it.
    connecting = asyncio.Lock()

    async def connection() -> Any:
        async with connecting:
            return await one_of(*hosts)

    async def one_of(host: str, *others: str) -> Any:
        try:
            found = await _connected(host, connect)
        except Exception as error:
            if not others or not is_transient(error):
                raise
            return await one_of(*others)
        hosts.sort(key=host.__ne__)  # the first that is tried next time
        return found

    return create_async_engine("postgresql+asyncpg://", async_creator=connection, **options)


async def _connected(host: str, connect: Mapping[str, Any]) -> Any:
    try:
        return cast("Any", await asyncpg.connect(host, **connect))
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise ConnectionError("not the primary") from error


def _refuse_unusable(connection: Any, _record: object, _proxy: object) -> None:
    """Makes the pool connect anew, so that a restarted server costs no request its answer.

    asyncpg knows by itself when the other end has closed, or has told that it takes no writes any more;
    `pool_pre_ping` would ask in three round trips.
    """
    driver = connection.driver_connection
    if driver.is_closed() or driver.get_settings().default_transaction_read_only == "on":
        raise DisconnectionError


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
        self.engine = engine_at(
            url,
            pool_size=10,
            max_overflow=0,
            pool_timeout=5,
            # The connection used last is the one whose backend and statements are warm.
            pool_use_lifo=True,
        )
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        event.listen(self.engine.sync_engine, "checkout", _refuse_unusable)

    async def run(self) -> None:
        await self.open()
        await self._stopping.wait()

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
                self._migrated.set()
                return

    def stop(self) -> None:
        self._stopping.set()

    async def wait_migrated(self, stopping: asyncio.Event) -> bool:
        """False when `stopping` is set before that."""
        await first_of(self._migrated, stopping)
        return self._migrated.is_set()

    async def check(self) -> None:
        async with asyncio.timeout(2), self.at_once() as connection:
            await connection.execute(text("SELECT 1"))

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction: commits at the end of the block, rolls back when the block raises."""
        self._require_migrated()
        async with self.engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def at_once(self) -> AsyncGenerator[AsyncConnection]:
        """A connection on which each statement is a transaction of its own: one round trip instead of three."""
        self._require_migrated()
        async with self._autocommit.connect() as connection:
            yield connection

    def _require_migrated(self) -> None:
        if not self._migrated.is_set():
            raise NotMigrated(f"the database of {self._package} is not ready")


async def migrate(url: str, package: str) -> str:
    """Brings the schema to its newest version, and leaves a newer one alone; returns which one it has.

    Replicas that start together take turns.
    """
    config = _config(package)
    # No time limit: an index of a large table takes what it takes.
    engine = engine_at(url, CONNECT | {"command_timeout": None}, poolclass=pool.NullPool)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})

        def upgrade(sync_connection: Connection) -> str:
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


def _revision(connection: Connection) -> str:
    """Revisions are numbers of four digits, so that one this release does not know is seen to be a later one."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def run_migrations(metadata: MetaData) -> None:
    """The whole of a service's `migrations/env.py`."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    context.run_migrations()
