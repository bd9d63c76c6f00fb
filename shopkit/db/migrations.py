"""Runs the migrations of a service, which are in the folder `migrations` of its package."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib import resources

from alembic import command, context
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, pool, text
from sqlalchemy.exc import DBAPIError

from shopkit.db.connect import CONNECT, engine_at

# Any number will do as long as no other lock in the database uses it.
MIGRATION_LOCK = 4_206_001


class NotMigrated(ConnectionError):
    """The schema is older than this release needs, or its version is not known yet."""


async def migrate(url: str, package: str) -> str:
    """Migrates the schema to the newest revision that this release knows. Returns the revision afterwards.

    A newer schema is not changed. An advisory lock lets one replica migrate at a time.
    """
    config = _config(package)
    # No time limit: creating an index of a large table can take long.
    engine = engine_at(url, CONNECT | {"command_timeout": None}, poolclass=pool.NullPool)
    with _raising_driver_errors():
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})

            def upgrade(sync_connection: Connection) -> str:
                if _revision(sync_connection) < _newest(config):
                    config.attributes["connection"] = sync_connection
                    command.upgrade(config, "head")
                return _revision(sync_connection)

            return await connection.run_sync(upgrade)


async def require_migrated(url: str, package: str) -> None:
    """Raises NotMigrated if the schema is older than the newest revision that this release knows."""
    newest = _newest(_config(package))
    with _raising_driver_errors():
        async with engine_at(url, poolclass=pool.NullPool).connect() as connection:
            revision = await connection.run_sync(_revision)
    if revision < newest:
        raise NotMigrated(f"the schema of {package} is at {revision or 'nothing'} and not yet at {newest}")


@contextmanager
def _raising_driver_errors() -> Generator[None]:
    """Raises the error of asyncpg instead of SQLAlchemy's, because `cause_of` needs it to find transient errors."""
    try:
        yield
    except DBAPIError as error:
        raise (error.orig and error.orig.__cause__) or error from error


def _config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files(package) / "migrations"))
    return config


def _newest(config: Config) -> str:
    return ScriptDirectory.from_config(config).get_current_head() or ""


def _revision(connection: Connection) -> str:
    """Returns the revision of the schema, or an empty string if it has none.

    Revisions are four-digit numbers, so an unknown revision can be recognised as newer.
    """
    return MigrationContext.configure(connection).get_current_revision() or ""


def run_migrations(metadata: MetaData) -> None:
    """Runs the migrations on the connection of `migrate`.

    Each `migrations/env.py` calls this and does nothing else.
    """
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    context.run_migrations()
