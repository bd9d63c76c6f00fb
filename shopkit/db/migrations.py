"""A service's migrations, in the folder `migrations` of its package."""

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
    """The schema is older than this release, or nobody could ask yet which one it is."""


async def migrate(url: str, package: str) -> str:
    """Brings the schema to its newest version, and leaves a newer one alone; returns which one it has.

    Replicas that start together take turns.
    """
    config = _config(package)
    # No time limit: an index of a large table takes what it takes.
    engine = engine_at(url, CONNECT | {"command_timeout": None}, poolclass=pool.NullPool)
    with _in_words_of_the_driver():
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
    with _in_words_of_the_driver():
        async with engine_at(url, poolclass=pool.NullPool).connect() as connection:
            revision = await connection.run_sync(_revision)
    if revision < newest:
        raise NotMigrated(f"the schema of {package} is at {revision or 'nothing'} and not yet at {newest}")


@contextmanager
def _in_words_of_the_driver() -> Generator[None]:
    """SQLAlchemy wraps an error of asyncpg twice, and only that one says whether the same may succeed later."""
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
    """Revisions are numbers of four digits, so that one this release does not know is seen to be a later one."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def run_migrations(metadata: MetaData) -> None:
    """The whole of a service's `migrations/env.py`."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    context.run_migrations()
