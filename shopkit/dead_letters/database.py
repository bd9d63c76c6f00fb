"""The dead letters of a database: events that its inbox could not process."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import NullPool, Row, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shopkit.db.connect import engine_at
from shopkit.dead_letters.letter import Letter, LetterFilter, Resolution, UsageError, summaries
from shopkit.messaging.events import encode_batch

PAGE_SIZE = 500

DATABASE = text("SELECT current_database() AS name, to_regclass('dead_letters') IS NOT NULL AS has_dead_letters")

READ = text("""
    SELECT id, event_id, event, error, attempts, parked_at, resolved_at, resolution FROM dead_letters
    WHERE id > :after AND (resolved_at IS NOT NULL) = :resolved
    ORDER BY id LIMIT :page
""")

# If another command has locked the row, the UPDATE waits for it and then finds the row resolved. So a letter is
# resolved once.
DISCARD = text("""
    UPDATE dead_letters SET resolved_at = now(), resolution = :resolution
    WHERE id = :id AND resolved_at IS NULL
""")

# Inserts the inbox row again if retention has removed it. An event that was suspected of crashing its process goes
# back into quarantine, because its cause may still be there. All else starts as for a new event.
REPLAY = text("""
    WITH letter AS (
        UPDATE dead_letters SET resolved_at = now(), resolution = :resolution
        WHERE id = :id AND resolved_at IS NULL
        RETURNING event_id, type, event
    )
    INSERT INTO inbox (event_id, type, event)
    SELECT event_id, type, event FROM letter
    ON CONFLICT (event_id) DO UPDATE
    SET processed_at = NULL, not_before = NULL, last_error = NULL, attempts = 0, received_at = now(),
        lonely_crashes = CASE WHEN inbox.lonely_crashes IS NOT NULL THEN 0 END
""")


class DatabaseLetters:
    """The dead letters of the database `name`. Their ids begin with this name."""

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self._engine = engine
        self._name = name

    async def read(self, wanted: LetterFilter, *, resolved: bool) -> AsyncGenerator[Letter]:
        if not wanted.can_match(self._name):
            return
        rows = await self._page(0, resolved)
        while rows:
            for row in rows:
                yield _letter(self._name, row)
            rows = await self._page(rows[-1].id, resolved)

    async def _page(self, after: int, resolved: bool) -> Sequence[Row[*tuple[Any, ...]]]:
        async with self._engine.connect() as connection:
            found = await connection.execute(READ, {"after": after, "resolved": resolved, "page": PAGE_SIZE})
            return found.all()

    async def resolve(self, letter: Letter, resolution: Resolution) -> bool:
        statement = REPLAY if resolution.what == "replayed" else DISCARD
        values = {"id": int(letter.id.removeprefix(f"{self._name}/")), "resolution": str(resolution)}
        async with self._engine.begin() as connection:
            return (await connection.execute(statement, values)).rowcount == 1


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[DatabaseLetters | None]:
    """Connects to the database.

    Yields None if it has no table of dead letters. Raises UsageError if it is unusable.
    """
    try:
        engine = engine_at(url, poolclass=NullPool)
        async with engine.connect() as connection:
            database = (await connection.execute(DATABASE)).one()
    except (OSError, ValueError, SQLAlchemyError, asyncpg.PostgresError) as error:
        reason, _, _ = str(error).partition("\n")  # the next line is a link to the documentation of SQLAlchemy
        raise UsageError(f"cannot connect to the database: {reason}") from error
    yield DatabaseLetters(engine, database.name) if database.has_dead_letters else None


def _letter(database: str, row: Row[*tuple[Any, ...]]) -> Letter:
    body = encode_batch([row.event])
    return Letter(
        id=f"{database}/{row.id}",
        queue=database,
        when=row.parked_at,
        reason=row.error,
        body=body,
        events=summaries(body),
        headers={"attempts": row.attempts},
        resolved_at=row.resolved_at,
        resolution=row.resolution,
    )
