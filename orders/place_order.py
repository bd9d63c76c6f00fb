"""Hops 1 and 2: accept an order; the order and its outbox row are written in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from prometheus_client import Counter
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from orders.messages import order_created
from shopkit import outbox
from shopkit.db import Database
from shopkit.idempotency import key_reused

ACCEPTED = Counter("gozon_orders_accepted", "Orders accepted")

# In the order of the keys, so that two replicas that are given the same keys cannot deadlock.
INSERT = text("""
    INSERT INTO orders (id, user_id, amount, description, idempotency_key)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:user_ids AS text[]), CAST(:amounts AS bigint[]),
                         CAST(:descriptions AS text[]), CAST(:keys AS text[]))
        AS given (id, user_id, amount, description, idempotency_key)
    ORDER BY user_id, idempotency_key
    ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, created_at
""")

FIRST_OF_KEYS = text("""
    SELECT user_id, idempotency_key, id, amount, description, created_at
    FROM orders JOIN unnest(CAST(:user_ids AS text[]), CAST(:keys AS text[])) AS given (user_id, idempotency_key)
        USING (user_id, idempotency_key)
""")

OfKey: TypeAlias = "Mapping[tuple[str, str | None], Row[*tuple[Any, ...]]]"


class NewOrder(msgspec.Struct, frozen=True):
    """With a `key`, the order is placed once, however often it is submitted."""

    user_id: str
    amount: int
    description: str
    key: str | None = None
    id: UUID = msgspec.field(default_factory=uuid7)


class Placed(msgspec.Struct, frozen=True):
    """`replayed` when the order of this key was placed before."""

    id: UUID
    created_at: datetime
    replayed: bool


class PlaceOrders:
    """What the batcher flushes. `committed` wakes the relay."""

    def __init__(self, database: Database, committed: Callable[[], None]) -> None:
        self._database = database
        self._committed = committed

    async def __call__(self, orders: Sequence[NewOrder]) -> list[Placed | Exception]:
        """Writes all that are new, or nothing. A key used with another body yields a 422 Problem."""
        async with self._database.begin() as connection:
            inserted = await _insert(connection, orders)
            new = [order for order in orders if order.id in inserted]
            first = await _first_of_keys(connection, [order for order in orders if order.id not in inserted])
            await outbox.add(connection, [order_created(o.id, o.user_id, o.amount) for o in new])
        self._committed()
        ACCEPTED.inc(len(new))
        return [_outcome(order, inserted, first) for order in orders]


def _outcome(order: NewOrder, inserted: Mapping[UUID, datetime], first: OfKey) -> Placed | Exception:
    if order.id in inserted:
        return Placed(order.id, inserted[order.id], replayed=False)
    earlier = first[order.user_id, order.key]
    if (earlier.amount, earlier.description) != (order.amount, order.description):
        return key_reused()
    return Placed(earlier.id, earlier.created_at, replayed=True)


async def _insert(connection: AsyncConnection, orders: Sequence[NewOrder]) -> dict[UUID, datetime]:
    """The ids that are new, and when they were created."""
    rows = await connection.execute(
        INSERT,
        {
            "ids": [order.id for order in orders],
            "user_ids": [order.user_id for order in orders],
            "amounts": [order.amount for order in orders],
            "descriptions": [order.description for order in orders],
            "keys": [order.key for order in orders],
        },
    )
    return {row.id: row.created_at for row in rows}


async def _first_of_keys(connection: AsyncConnection, repeated: Sequence[NewOrder]) -> OfKey:
    if not repeated:
        return {}
    rows = await connection.execute(
        FIRST_OF_KEYS,
        {"user_ids": [order.user_id for order in repeated], "keys": [order.key for order in repeated]},
    )
    return {(row.user_id, row.idempotency_key): row for row in rows}
