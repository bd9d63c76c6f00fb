"""A service's own PostgreSQL database: its engine, its migrations, whether it can be reached."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import structlog
from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, MetaData, event, make_url, pool, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from shopkit.retry import Backoff, first_of, is_transient, pause

# Any number will do as long as no other lock in the database uses it.
MIGRATION_LOCK = 4_206_001

log = structlog.get_logger()


CONNECT: dict[str, Any] = {
    "timeout": 5,
    "command_timeout": 15,
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


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Makes the pool connect anew, so that a restarted server costs no request its answer.

    asyncpg knows by itself when the other end has closed; `pool_pre_ping` would ask in three round trips.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError


class NotMigrated(ConnectionError):
    """The database was not reached yet since this process started, or its schema is not up to date."""


class Database:
    """`package` names the service whose `migrations` folder brings the schema up to date."""

    def __init__(self, url: str, package: str) -> None:
        self._package = package
        self._stopping = asyncio.Event()
        self._migrated = asyncio.Event()
        self.engine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=10,
            max_overflow=0,
            pool_timeout=5,
            # The connection used last is the one whose backend and statements are warm.
            pool_use_lifo=True,
            connect_args=CONNECT,
        )
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        event.listen(self.engine.sync_engine, "checkout", _refuse_closed)

    async def run(self) -> None:
        await self.open()
        await self._stopping.wait()

    async def open(self) -> None:
        """Migrates as soon as the server is there, however long that takes."""
        backoff = Backoff(most=5)
        while not self._stopping.is_set():
            try:
                await migrate(self.engine.url.render_as_string(hide_password=False), self._package)
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


async def migrate(url: str, package: str) -> None:
    """Brings the schema to its newest version; replicas that start together take turns."""
    config = Config()
    config.set_main_option("script_location", str(resources.files(package) / "migrations"))
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        poolclass=pool.NullPool,
        connect_args=CONNECT | {"command_timeout": None},  # an index of a large table takes what it takes
    )
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})

        def upgrade(sync_connection: Connection) -> None:
            config.attributes["connection"] = sync_connection
            command.upgrade(config, "head")

        await connection.run_sync(upgrade)


def run_migrations(metadata: MetaData) -> None:
    """The whole of a service's `migrations/env.py`."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    context.run_migrations()
