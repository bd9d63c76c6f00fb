"""A read-only snapshot of a database: all queries see its state at one moment."""

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import Executable, NullPool, Row, RowMapping, TextClause, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from shopkit.db.connect import engine_at

BATCH = 1_000

# There is no statement timeout: unlike a service's statements, these may take minutes.
CONNECT: dict[str, Any] = {"timeout": 5, "server_settings": {"application_name": "gozon-auditor"}}
READ_ONLY = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class Unreadable(Exception):
    """A database cannot be read. The message is one line with the database and the reason."""


class AuditSnapshot:
    """One transaction at isolation level REPEATABLE READ. Its methods raise Unreadable."""

    def __init__(self, database: str, connection: AsyncConnection) -> None:
        self.database = database
        self._connection = connection

    async def take(self) -> None:
        """Runs the first statement of the transaction. PostgreSQL takes the snapshot then, not at the beginning."""
        await self.rows(text("SELECT 1"), {})

    async def rows(self, query: Executable, values: Mapping[str, object]) -> Sequence[RowMapping]:
        with reading(self.database):
            return (await self._connection.execute(query, values)).mappings().all()

    async def stream(
        self, query: TextClause, values: Mapping[str, object]
    ) -> AsyncGenerator[Row[*tuple[Any, ...]]]:
        """Yields the rows through a server-side cursor, so that they need not all be in memory."""
        with reading(self.database):
            result = await self._connection.stream(query, values)
            async for batch in result.partitions(BATCH):
                for row in batch:
                    yield row


@asynccontextmanager
async def open_database(database: str, url: str) -> AsyncGenerator[AuditSnapshot]:
    """Connects and yields the snapshot, which is not taken yet. Raises Unreadable if it cannot connect."""
    try:
        engine = engine_at(url, CONNECT, poolclass=NullPool, execution_options=READ_ONLY)
        with reading(database):
            connection = await engine.connect()
    except ValueError as error:  # its text must not be shown: it can contain a part of the password
        raise Unreadable(f"cannot read the {database} database: its address is not a URL") from error
    try:
        yield AuditSnapshot(database, connection)
    finally:
        await connection.close()


@contextmanager
def reading(database: str) -> Generator[None]:
    """Turns the errors of the block into Unreadable."""
    try:
        yield
    except (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = str(cause).partition("\n")[0] or repr(cause)
        raise Unreadable(f"cannot read the {database} database: {reason}") from error
