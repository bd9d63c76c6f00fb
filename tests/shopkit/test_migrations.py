import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, NullPool, text

import orders.models
import payments.models
from shopkit.db.connect import engine_at
from shopkit.db.database import Database
from shopkit.db.migrations import MIGRATION_LOCK, NotMigrated, migrate, require_migrated
from tests.operating import shopkit_process
from tests.servers import CopyOf, rows
from tests.support import ROOT, eventually, free_port

METADATA = {"orders": orders.models.metadata, "payments": payments.models.metadata}

# Alembic does not compare these: the conditions of checks and of partial indexes.
CONSTRAINTS_AND_INDEXES = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'alembic%'
    UNION SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND indexname NOT LIKE 'alembic%'
    ORDER BY 1, 2
"""

GROWING = {"orders": {"orders"}, "payments": {"inbox", "ledger_entries", "payments"}}

# Tables with their own settings for ANALYZE, and their columns whose statistics target is not between 0 and 10.
# The default target is -1 up to PostgreSQL 16, and NULL later.
ANALYZED = """
    SELECT DISTINCT relname, CASE WHEN attstattarget BETWEEN 0 AND 10 THEN '' ELSE attname END
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
    WHERE array_to_string(reloptions, ' ') LIKE '%analyze_scale_factor%'
"""

TERMINATE_WAITING_MIGRATION = """
    SELECT count(pg_terminate_backend(pid))
    FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database AND datname = current_database()
    WHERE locktype = 'advisory' AND NOT granted
"""

pytestmark = pytest.mark.parametrize("service", METADATA)


@pytest.fixture
async def empty(servers: dict[str, Any], service: str) -> AsyncGenerator[Database]:
    async with CopyOf(servers, "template0") as url:
        database = Database(url, service)
        yield database
        await database.close()


def differences(connection: Connection, metadata: MetaData) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return compare_metadata(context, metadata)


async def test_the_migrated_schema_equals_the_models(service: str, empty: Database) -> None:
    await empty.open()
    engine = engine_at(empty.url, poolclass=NullPool)
    async with engine.begin() as connection:
        assert await connection.run_sync(differences, METADATA[service]) == []
    migrated = await rows(empty, CONSTRAINTS_AND_INDEXES)

    async with engine.begin() as connection:
        await connection.run_sync(METADATA[service].drop_all)
        await connection.run_sync(METADATA[service].create_all)
    assert await rows(empty, CONSTRAINTS_AND_INDEXES) == migrated


async def test_growing_tables_have_a_rare_and_small_analyze(service: str, empty: Database) -> None:
    await empty.open()
    assert set(await rows(empty, ANALYZED)) == {(table, "") for table in GROWING[service]}


async def test_replicas_that_start_together_migrate_once(service: str, empty: Database) -> None:
    await asyncio.gather(*(migrate(empty.url, service) for _ in range(5)))
    await empty.open()
    assert len(await rows(empty, "SELECT * FROM alembic_version")) == 1


async def test_a_replica_retries_a_migration_whose_connection_was_lost(service: str, empty: Database) -> None:
    async with engine_at(empty.url, poolclass=NullPool).begin() as other:
        await other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        opening = asyncio.create_task(empty.open())

        async def terminated() -> bool:
            return bool(await other.scalar(text(TERMINATE_WAITING_MIGRATION)))

        await eventually(terminated)
    await asyncio.wait_for(opening, 20)
    await empty.check()


async def test_a_newer_schema_is_used_and_not_changed(service: str, empty: Database) -> None:
    """An older replica finds a newer schema when it restarts during a rolling update."""
    await migrate(empty.url, service)
    await set_revision(empty, "9999")
    await empty.open()
    await empty.check()
    assert await rows(empty, "SELECT version_num FROM alembic_version") == [("9999",)]
    await require_migrated(empty.url, service)


async def test_a_service_with_migrating_off_waits_for_the_migration(service: str, empty: Database) -> None:
    waiting = Database(empty.url, service, "off")
    opening = asyncio.create_task(waiting.open())
    with pytest.raises(NotMigrated):
        await require_migrated(empty.url, service)
    with pytest.raises(NotMigrated):
        await waiting.check()
    assert not opening.done()

    newest = revisions(service)[-1]
    outcome = await shopkit_process("migrate", service, DATABASE_URL=empty.url)
    assert outcome == (0, f"{service} is at {newest}\n", "")
    await asyncio.wait_for(opening, 10)
    await waiting.check()
    await waiting.close()


async def test_an_older_schema_is_rejected(service: str, empty: Database) -> None:
    await migrate(empty.url, service)
    await set_revision(empty, "0001")
    with pytest.raises(NotMigrated, match="at 0001"):
        await require_migrated(empty.url, service)


async def test_the_command_reports_that_the_database_is_unavailable(service: str) -> None:
    unavailable = f"postgresql://gozon@127.0.0.1:{free_port()}/gozon"
    outcome = await shopkit_process("migrate", service, "--database", unavailable)
    assert (outcome.status, outcome.output) == (1, "")
    assert outcome.complaints.startswith("not migrated: ")
    assert outcome.complaints.count("\n") == 1


def test_revisions_are_consecutive_four_digit_numbers(service: str) -> None:
    found = revisions(service)
    assert found == [f"{number:04}" for number in range(1, len(found) + 1)]


def revisions(service: str) -> list[str]:
    return sorted(script.revision for script in ScriptDirectory(ROOT / service / "migrations").walk_revisions())


async def set_revision(database: Database, revision: str) -> None:
    async with engine_at(database.url, poolclass=NullPool).begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
