"""A database as it was at one moment, read only."""

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import Executable, NullPool, Row, RowMapping, TextClause, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from shopkit.db.connect import engine_at

BATCH = 1_000

# Unlike a service's statements, these may take minutes.
CONNECT: dict[str, Any] = {"timeout": 5, "server_settings": {"application_name": "gozon-auditor"}}
READ_ONLY = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class Unreadable(Exception):
    """Names the database and says what was wrong, in one line."""


class AuditSnapshot:
    def __init__(self, database: str, connection: AsyncConnection) -> None:
        self.database = database
        self._connection = connection

    async def take(self) -> None:
        """From here on it stands still: PostgreSQL takes the snapshot with the first statement."""
        await self.rows(text("SELECT 1"), {})

    async def rows(self, query: Executable, values: Mapping[str, object]) -> Sequence[RowMapping]:
        with reading(self.database):
            return (await self._connection.execute(query, values)).mappings().all()

    async def stream(
        self, query: TextClause, values: Mapping[str, object]
    ) -> AsyncGenerator[Row[*tuple[Any, ...]]]:
        """Through a cursor of the server, so that the rows need no room here."""
        with reading(self.database):
            result = await self._connection.stream(query, values)
            async for batch in result.partitions(BATCH):
                for row in batch:
                    yield row


@asynccontextmanager
async def connected(database: str, url: str) -> AsyncGenerator[AuditSnapshot]:
    """Raises Unreadable when the database cannot be reached."""
    try:
        engine = engine_at(url, CONNECT, poolclass=NullPool, execution_options=READ_ONLY)
        with reading(database):
            connection = await engine.connect()
    except ValueError as error:  # its text quotes parts of the address, perhaps of the password
        raise Unreadable(f"cannot read the {database} database: its address is not a URL") from error
    try:
        yield AuditSnapshot(database, connection)
    finally:
        await connection.close()


@contextmanager
def reading(database: str) -> Generator[None]:
    try:
        yield
    except (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = str(cause).partition("\n")[0] or repr(cause)
        raise Unreadable(f"cannot read the {database} database: {reason}") from error
