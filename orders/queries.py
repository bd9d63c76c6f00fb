"""Queries for orders. Users see only their own orders."""

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
HIGHEST_ID = UUID(int=2**128 - 1)


async def one(database: Database, user_id: str, order_id: UUID) -> Row | None:
    """Returns an order of this user, or None. The last column is the journey as JSON."""
    async with database.autocommit() as connection:
        return await connection.fetchrow(ONE, order_id, user_id)


async def newest(
    database: Database, user_id: str, status: str | None, before: UUID | None, limit: int
) -> Sequence[Row]:
    """Returns at most `limit` orders of this user, newest first. With `before`, only orders older than that id."""
    async with database.autocommit() as connection:
        return await connection.fetch(NEWEST, user_id, before or HIGHEST_ID, status, limit)
