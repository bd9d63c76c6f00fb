"""Reading orders. A caller sees only their own."""

from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import Row, select

from orders.models import orders
from shopkit.db import Database

OrderRow: TypeAlias = Row[*tuple[Any, ...]]

COLUMNS = (
    orders.c.id,
    orders.c.user_id,
    orders.c.amount,
    orders.c.description,
    orders.c.status,
    orders.c.version,
    orders.c.created_at,
    orders.c.updated_at,
    orders.c.reason,
)


async def one(database: Database, user_id: str, order_id: UUID) -> OrderRow | None:
    """With its journey in the last column."""
    query = select(*COLUMNS, orders.c.journey).where(orders.c.id == order_id, orders.c.user_id == user_id)
    async with database.at_once() as connection:
        return (await connection.execute(query)).one_or_none()


async def newest(
    database: Database, user_id: str, status: str | None, before: UUID | None, limit: int
) -> Sequence[OrderRow]:
    """At most `limit` orders, newest first, older than the order with id `before`."""
    query = select(*COLUMNS).where(orders.c.user_id == user_id)
    if status is not None:
        query = query.where(orders.c.status == status)
    if before is not None:
        query = query.where(orders.c.id < before)
    async with database.at_once() as connection:
        return (await connection.execute(query.order_by(orders.c.id.desc()).limit(limit))).all()
