"""Retention: what has served its time is removed in small batches."""

from typing import Annotated, TypeAlias

import msgspec
from prometheus_client import Counter
from sqlalchemy import Column, MetaData, Table, Text, Uuid

from shopkit.db.database import Database
from shopkit.db.periodic import Periodic

# The contract: keys are kept for two days at least.
KeepKeys: TypeAlias = Annotated[int, msgspec.Meta(ge=48)]
KeepInbox: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]

RETENTION_BATCH_SIZE = 1000
EVERY_SECONDS = 60.0

REMOVED = Counter("gozon_retention_removed", "What retention removed", ["what"])

PROCESSED_EVENTS = """
    WITH removed AS (
        DELETE FROM inbox WHERE event_id = ANY (ARRAY(
            SELECT event_id FROM inbox WHERE processed_at < now() - make_interval(hours => $1)
            ORDER BY processed_at LIMIT $2 FOR UPDATE SKIP LOCKED
        )) RETURNING 1
    )
    SELECT count(*) AS removed, count(*) AS looked_at FROM removed
"""

# What a process that has ended noted last; it is of use for as long as its events may wait.
CRASH_NOTES = """
    WITH removed AS (
        DELETE FROM inbox_in_hand WHERE id = ANY (ARRAY(
            SELECT id FROM inbox_in_hand WHERE taken_at < now() - make_interval(hours => $1)
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )) RETURNING 1
    )
    SELECT count(*) AS removed, count(*) AS looked_at FROM removed
"""

# Ids are UUIDv7, so old rows are the first ones of the primary key and need no index of their own. The row of
# `retention` says how far this has come, and lets one replica at a time go on.
EXPIRED_KEYS = """
    WITH turn AS (
        SELECT done_up_to FROM retention WHERE name = 'idempotency_keys' FOR UPDATE SKIP LOCKED
    ), batch AS (
        SELECT id FROM {table}
        WHERE id > (SELECT done_up_to FROM turn) AND id < CAST(lpad(to_hex(CAST(
            extract(epoch FROM now() - make_interval(hours => $1)) * 1000 AS bigint)), 12, '0')
            || repeat('0', 20) AS uuid)
        ORDER BY id LIMIT $2
    ), moved AS (
        UPDATE retention SET done_up_to = last.id FROM (SELECT id FROM batch ORDER BY id DESC LIMIT 1) AS last
        WHERE name = 'idempotency_keys'
    ), removed AS (
        UPDATE {table} SET idempotency_key = NULL FROM batch
        WHERE {table}.id = batch.id AND idempotency_key IS NOT NULL
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM removed) AS removed, (SELECT count(*) FROM batch) AS looked_at
"""


def table(metadata: MetaData) -> Table:
    """`done_up_to` is the last id, a UUIDv7, of the rows that were looked at."""
    return Table(
        "retention",
        metadata,
        Column("name", Text, primary_key=True),
        Column("done_up_to", Uuid, nullable=False),
    )


class Retention:
    """One batch. `statement` takes hours and the most to look at, and says how many it removed and looked at."""

    def __init__(self, database: Database, what: str, statement: str, hours: int) -> None:
        self._database = database
        self._what = what
        self._statement = statement
        self._hours = hours

    async def __call__(self) -> bool:
        async with self._database.autocommit() as connection:
            ((removed, looked_at),) = await connection.fetch(self._statement, self._hours, RETENTION_BATCH_SIZE)
        REMOVED.labels(self._what).inc(removed)
        return looked_at == RETENTION_BATCH_SIZE


def of_keys(database: Database, table: Table, hours: int) -> Periodic:
    """`table` keeps idempotency keys beside what they created."""
    return worker(database, "idempotency_keys", expired_keys(table), hours)


def expired_keys(table: Table) -> str:
    return EXPIRED_KEYS.format(table=table.name)


def worker(database: Database, what: str, statement: str, hours: int) -> Periodic:
    return Periodic(f"retention of {what}", database, EVERY_SECONDS, Retention(database, what, statement, hours))
