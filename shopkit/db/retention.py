"""Retention: deletes expired rows and idempotency keys in small batches (docs/adr/0010-keys-and-retention.md)."""

from typing import Annotated, TypeAlias

import msgspec
from prometheus_client import Counter
from sqlalchemy import Column, MetaData, Table, Text, Uuid

from shopkit.db.database import Database
from shopkit.db.periodic import Periodic

# The public promise: an idempotency key is kept for at least 48 hours.
KeepKeys: TypeAlias = Annotated[int, msgspec.Meta(ge=48)]
KeepInbox: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]

RETENTION_BATCH_SIZE = 1000
INTERVAL_SECONDS = 60.0

REMOVED = Counter(
    "gozon_retention_removed", "Rows that retention has deleted, and keys that it has cleared", ["what"]
)

PROCESSED_EVENTS = """
    WITH removed AS (
        DELETE FROM inbox WHERE event_id = ANY (ARRAY(
            SELECT event_id FROM inbox WHERE processed_at < now() - make_interval(hours => $1)
            ORDER BY processed_at LIMIT $2 FOR UPDATE SKIP LOCKED
        )) RETURNING 1
    )
    SELECT count(*) AS removed, count(*) AS examined FROM removed
"""

# The last notes of processes that have ended. The crash guard needs them while their events can still wait.
CRASH_NOTES = """
    WITH removed AS (
        DELETE FROM inbox_in_hand WHERE id = ANY (ARRAY(
            SELECT id FROM inbox_in_hand WHERE taken_at < now() - make_interval(hours => $1)
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )) RETURNING 1
    )
    SELECT count(*) AS removed, count(*) AS examined FROM removed
"""

# Ids are UUIDv7, so the oldest rows come first in the primary key, and no other index is needed. The row of
# `retention` stores the last id that was examined. Its lock lets one replica at a time continue.
EXPIRED_KEYS = """
    WITH progress AS (
        SELECT done_up_to FROM retention WHERE name = 'idempotency_keys' FOR UPDATE SKIP LOCKED
    ), batch AS (
        SELECT id FROM {table}
        WHERE id > (SELECT done_up_to FROM progress) AND id < CAST(lpad(to_hex(CAST(
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
    SELECT (SELECT count(*) FROM removed) AS removed, (SELECT count(*) FROM batch) AS examined
"""


def table(metadata: MetaData) -> Table:
    """Defines the table with the progress of retention. `done_up_to` is the last id (UUIDv7) that was examined."""
    return Table(
        "retention",
        metadata,
        Column("name", Text, primary_key=True),
        Column("done_up_to", Uuid, nullable=False),
    )


class Retention:
    """Runs one batch of retention.

    `statement` has the hours to keep as `$1` and the batch size as `$2`. It returns how many rows it removed and
    how many it examined.
    """

    def __init__(self, database: Database, what: str, statement: str, hours: int) -> None:
        self._database = database
        self._what = what
        self._statement = statement
        self._hours = hours

    async def delete_batch(self) -> bool:
        """Returns whether there may be more to remove."""
        async with self._database.autocommit() as connection:
            ((removed, examined),) = await connection.fetch(self._statement, self._hours, RETENTION_BATCH_SIZE)
        REMOVED.labels(self._what).inc(removed)
        return examined == RETENTION_BATCH_SIZE


def of_keys(database: Database, table: Table, hours: int) -> Periodic:
    """Returns the worker that clears expired idempotency keys, which are a column of `table`."""
    return worker(database, "idempotency_keys", expired_keys(table), hours)


def expired_keys(table: Table) -> str:
    """Returns the statement that clears the expired idempotency keys of `table`."""
    return EXPIRED_KEYS.format(table=table.name)


def worker(database: Database, what: str, statement: str, hours: int) -> Periodic:
    """Returns the worker that runs `statement`. `what` is the value of the metric label."""
    retention = Retention(database, what, statement, hours)
    return Periodic(f"retention of {what}", database, INTERVAL_SECONDS, retention.delete_batch)
