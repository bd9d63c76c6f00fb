"""Hops 1 and 2: accept an order; the order and its outbox row are written in one transaction."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from prometheus_client import Counter
from sqlalchemy import text
from uuid_utils.compat import uuid7

from orders.messages import order_created
from shopkit import outbox
from shopkit.db import Database

ACCEPTED = Counter("gozon_orders_accepted", "Orders accepted")

INSERT = text("""
    INSERT INTO orders (id, user_id, amount, description)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:user_ids AS text[]),
                         CAST(:amounts AS bigint[]), CAST(:descriptions AS text[]))
    RETURNING created_at
""")


class NewOrder(msgspec.Struct, frozen=True):
    user_id: str
    amount: int
    description: str
    id: UUID = msgspec.field(default_factory=uuid7)


class PlaceOrders:
    """What the batcher flushes. `committed` wakes the relay."""

    def __init__(self, database: Database, committed: Callable[[], None]) -> None:
        self._database = database
        self._committed = committed

    async def __call__(self, orders: Sequence[NewOrder]) -> list[datetime]:
        """Writes all of `orders`, or none; returns when each was created."""
        async with self._database.begin() as connection:
            created_at = await connection.scalar(
                INSERT,
                {
                    "ids": [order.id for order in orders],
                    "user_ids": [order.user_id for order in orders],
                    "amounts": [order.amount for order in orders],
                    "descriptions": [order.description for order in orders],
                },
            )
            await outbox.add(connection, [order_created(o.id, o.user_id, o.amount) for o in orders])
        self._committed()
        ACCEPTED.inc(len(orders))
        return [created_at] * len(orders)  # one transaction, one now()
