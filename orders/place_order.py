"""Hops 1 and 2: accept an order, and write the order and its outbox row in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Counter
from uuid_utils.compat import uuid7

from gozon.hops import ACCEPTED
from orders.messages import order_created
from shopkit.db.database import Connection, Database, Row
from shopkit.messaging import event_log, journey
from shopkit.messaging.journey import Hop
from shopkit.observability import tracing
from shopkit.web.idempotency import key_reused
from shopkit.web.problems import unavailable

ACCEPTED_ORDERS = Counter("gozon_orders_accepted", "Orders accepted")

# Inserts the orders and the outbox rows of their events. It is one statement, so one transaction in one round trip:
# an order is stored together with its event or not at all. Because of the single round trip, these outbox rows are
# inserted here. All other outbox rows are inserted by `shopkit.messaging.outbox.add`.
#
# If the idempotency key of an order exists already, neither the order nor its event is inserted. The rows are
# inserted in the order of their keys, so that two replicas with the same keys cannot deadlock.
PLACE = """
    WITH requested AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[],
                             $4::text[], $5::text[],
                             $6::uuid[], $7::bytea[])
            AS requested (id, user_id, amount, description, idempotency_key, event_id, event)
    ), inserted AS (
        INSERT INTO orders (id, user_id, amount, description, idempotency_key, journey)
        SELECT id, user_id, amount, description, idempotency_key, $8::jsonb FROM requested
        ORDER BY user_id, idempotency_key
        ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING id, created_at
    ), outbox_rows AS (
        INSERT INTO outbox (event_id, routing_key, event)
        SELECT event_id, $9, event FROM requested JOIN inserted USING (id)
    )
    SELECT id, created_at FROM inserted
"""

ORDERS_BY_KEY = """
    SELECT user_id, idempotency_key, id, amount, description, created_at
    FROM orders JOIN unnest($1::text[], $2::text[]) AS requested (user_id, idempotency_key)
        USING (user_id, idempotency_key)
"""

# Rows of ORDERS_BY_KEY by user id and idempotency key.
OrdersByKey: TypeAlias = Mapping[tuple[str, str | None], Row]

log = structlog.get_logger()


class NewOrder(msgspec.Struct, frozen=True):
    """A request to place an order. Requests of a user with the same `key` place one order."""

    user_id: str
    amount: int
    description: str
    key: str | None = None
    traceparent: str | None = None
    id: UUID = msgspec.field(default_factory=uuid7)


class Placed(msgspec.Struct, frozen=True):
    """The result of a NewOrder. `replayed` is true if an earlier request with the same key placed the order."""

    id: UUID
    created_at: datetime
    replayed: bool


class PlaceOrders:
    """Writes a batch of orders. `Batcher` calls it with the orders that `routes.create_order` has submitted.

    `on_committed` is called after each commit, to wake the relay.
    """

    def __init__(self, database: Database, replica: str, on_committed: Callable[[], None]) -> None:
        self._database = database
        self._replica = replica
        self._on_committed = on_committed

    async def place(self, orders: Sequence[NewOrder]) -> list[Placed | Exception]:
        """Writes all new orders in one transaction and returns one result per order.

        The result of a key that was used with another body is a 422 Problem.
        """
        with tracing.batch("place orders", (order.traceparent for order in orders)):
            async with self._database.autocommit() as connection:
                created_at_by_id = await _insert(connection, orders, journey.now(ACCEPTED, self._replica))
        self._on_committed()
        ACCEPTED_ORDERS.inc(len(created_at_by_id))
        earlier_orders = await self._look_up_keys([order for order in orders if order.id not in created_at_by_id])
        return [_result(order, created_at_by_id, earlier_orders) for order in orders]

    async def _look_up_keys(self, repeated: Sequence[NewOrder]) -> OrdersByKey:
        """Returns the earlier orders with the keys of `repeated`. After an error, it logs and returns none.

        It must not raise: the new orders of this batch are committed, and their callers must get this result.
        """
        if not repeated:
            return {}
        try:
            async with self._database.autocommit() as connection:
                return await _orders_by_key(connection, repeated)
        except Exception as error:  # noqa: BLE001 (the callers with a repeated key get a 503)
            log.warning("looking up repeated idempotency keys failed", error=repr(error))
            return {}


def _result(
    order: NewOrder, created_at_by_id: Mapping[UUID, datetime], earlier_orders: OrdersByKey
) -> Placed | Exception:
    if order.id in created_at_by_id:
        return Placed(order.id, created_at_by_id[order.id], replayed=False)
    earlier = earlier_orders.get((order.user_id, order.key))
    if earlier is None:
        return unavailable("The earlier request with this key cannot be looked up right now.")
    if (earlier.amount, earlier.description) != (order.amount, order.description):
        return key_reused()
    return Placed(earlier.id, earlier.created_at, replayed=True)


async def _insert(connection: Connection, orders: Sequence[NewOrder], hop: Hop) -> dict[UUID, datetime]:
    """Inserts the orders with new keys or without keys, and their events. Returns their creation times by id."""
    events = [order_created(o.id, o.user_id, o.amount, o.traceparent, [hop]) for o in orders]
    rows = await connection.fetch(
        PLACE,
        [order.id for order in orders],
        [order.user_id for order in orders],
        [order.amount for order in orders],
        [order.description for order in orders],
        [order.key for order in orders],
        [event.event_id for event in events],
        [event.event for event in events],
        journey.encode(hop).decode(),
        events[0].routing_key,
    )
    created_at_by_id = {row.id: row.created_at for row in rows}
    inserted = (e.event for order, e in zip(orders, events, strict=True) if order.id in created_at_by_id)
    event_log.each(ACCEPTED, inserted)
    return created_at_by_id


async def _orders_by_key(connection: Connection, repeated: Sequence[NewOrder]) -> OrdersByKey:
    rows = await connection.fetch(
        ORDERS_BY_KEY, [order.user_id for order in repeated], [order.key for order in repeated]
    )
    return {(row.user_id, row.idempotency_key): row for row in rows}
