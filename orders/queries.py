"""Reading orders. A caller sees only their own."""

from collections.abc import Sequence
from uuid import UUID

from shopkit.db.database import Database, Row

ONE = """
    SELECT id, user_id, amount, description, status, version, created_at, updated_at, reason, journey FROM orders
    WHERE id = $1 AND user_id = $2
"""

NEWEST = """
    SELECT id, user_id, amount, description, status, version, created_at, updated_at, reason FROM orders
    WHERE user_id = $1 AND id < $2 AND ($3::text IS NULL OR status = $3)
    ORDER BY id DESC LIMIT $4
"""
LAST_ID = UUID(int=2**128 - 1)


async def one(database: Database, user_id: str, order_id: UUID) -> Row | None:
    """With its journey, as JSON, in the last column."""
    async with database.autocommit() as connection:
        return await connection.fetchrow(ONE, order_id, user_id)


async def newest(
    database: Database, user_id: str, status: str | None, before: UUID | None, limit: int
) -> Sequence[Row]:
    """At most `limit` orders, newest first, older than the order with id `before`."""
    async with database.autocommit() as connection:
        return await connection.fetch(NEWEST, user_id, before or LAST_ID, status, limit)
