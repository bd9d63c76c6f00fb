"""The dead letters of a database: events that its inbox parked."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import NullPool, Row, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shopkit.connect import engine_at
from shopkit.dead_letters.letter import Letter, Resolution, Unusable, Wanted, summaries
from shopkit.events import encode_batch

NAME = "db"
PAGE = 500

HAS_DEAD_LETTERS = text("SELECT to_regclass('dead_letters') IS NOT NULL")

READ = text("""
    SELECT id, event_id, event, error, attempts, parked_at, resolved_at, resolution FROM dead_letters
    WHERE id > :after AND (resolved_at IS NOT NULL) = :resolved
    ORDER BY id LIMIT :page
""")

# The update waits for whoever holds the row, and then finds it resolved: a letter is resolved once.
DISCARD = text("""
    UPDATE dead_letters SET resolved_at = now(), resolution = :resolution
    WHERE id = :id AND resolved_at IS NULL
""")

# The inbox row is there again when retention has removed it. One that was suspected of killing its process is
# handled alone again: the operator may be wrong.
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
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, wanted: Wanted, *, resolved: bool) -> AsyncGenerator[Letter]:
        if not wanted.concerns(NAME):
            return
        rows = await self._page(0, resolved)
        while rows:
            for row in rows:
                yield _letter(row)
            rows = await self._page(rows[-1].id, resolved)

    async def _page(self, after: int, resolved: bool) -> Sequence[Row[*tuple[Any, ...]]]:
        async with self._engine.connect() as connection:
            found = await connection.execute(READ, {"after": after, "resolved": resolved, "page": PAGE})
            return found.all()

    async def resolve(self, letter: Letter, resolution: Resolution) -> bool:
        statement = REPLAY if resolution.what == "replayed" else DISCARD
        values = {"id": int(letter.id.removeprefix(f"{NAME}/")), "resolution": str(resolution)}
        async with self._engine.begin() as connection:
            return (await connection.execute(statement, values)).rowcount == 1


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[DatabaseLetters | None]:
    """None when the database keeps no dead letters."""
    try:
        engine = engine_at(url, poolclass=NullPool)
        async with engine.connect() as connection:
            has_dead_letters = await connection.scalar(HAS_DEAD_LETTERS)
    except (OSError, ValueError, SQLAlchemyError, asyncpg.PostgresError) as error:
        reason, _, _ = str(error).partition("\n")  # SQLAlchemy adds where to read on
        raise Unusable(f"cannot use the database: {reason}") from error
    yield DatabaseLetters(engine) if has_dead_letters else None


def _letter(row: Row[*tuple[Any, ...]]) -> Letter:
    body = encode_batch([row.event])
    return Letter(
        id=f"{NAME}/{row.id}",
        queue=NAME,
        when=row.parked_at,
        reason=row.error,
        body=body,
        events=summaries(body),
        headers={"attempts": row.attempts},
        resolved_at=row.resolved_at,
        resolution=row.resolution,
    )
