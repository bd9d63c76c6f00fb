import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, NullPool, make_url
from sqlalchemy.ext.asyncio import create_async_engine

import orders.models
import payments.models
from shopkit.db import Database, migrate
from tests.servers import CopyOf, rows

METADATA = {"orders": orders.models.metadata, "payments": payments.models.metadata}

# What Alembic does not compare: the texts of checks, and which rows an index holds.
CONSTRAINTS_AND_INDEXES = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'alembic%'
    UNION SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND indexname NOT LIKE 'alembic%'
    ORDER BY 1, 2
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


async def test_the_migrated_database_is_what_the_models_say(service: str, empty: Database) -> None:
    await empty.open()
    engine = create_async_engine(make_url(empty.url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    async with engine.begin() as connection:
        assert await connection.run_sync(differences, METADATA[service]) == []
    migrated = await rows(empty, CONSTRAINTS_AND_INDEXES)

    async with engine.begin() as connection:
        await connection.run_sync(METADATA[service].drop_all)
        await connection.run_sync(METADATA[service].create_all)
    assert await rows(empty, CONSTRAINTS_AND_INDEXES) == migrated


async def test_replicas_that_start_together_migrate_once(service: str, empty: Database) -> None:
    await asyncio.gather(*(migrate(empty.url, service) for _ in range(5)))
    await empty.open()
    assert len(await rows(empty, "SELECT * FROM alembic_version")) == 1
