"""Hops 1 and 2: accept an order; the order and its outbox row are written in one transaction."""

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

# One statement, so one transaction in one round trip: an order is there with its event or not at all. In the
# order of the keys, so that two replicas that are given the same keys cannot deadlock.
PLACE = """
    WITH given AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[],
                             $4::text[], $5::text[],
                             $6::uuid[], $7::bytea[])
            AS given (id, user_id, amount, description, idempotency_key, event_id, event)
    ), placed AS (
        INSERT INTO orders (id, user_id, amount, description, idempotency_key, journey)
        SELECT id, user_id, amount, description, idempotency_key, $8::jsonb FROM given
        ORDER BY user_id, idempotency_key
        ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING id, created_at
    ), told AS (
        INSERT INTO outbox (event_id, routing_key, event)
        SELECT event_id, $9, event FROM given JOIN placed USING (id)
    )
    SELECT id, created_at FROM placed
"""

FIRST_OF_KEYS = """
    SELECT user_id, idempotency_key, id, amount, description, created_at
    FROM orders JOIN unnest($1::text[], $2::text[]) AS given (user_id, idempotency_key)
        USING (user_id, idempotency_key)
"""

OfKey: TypeAlias = Mapping[tuple[str, str | None], Row]

log = structlog.get_logger()


class NewOrder(msgspec.Struct, frozen=True):
    """With a `key`, the order is placed once, however often it is submitted."""

    user_id: str
    amount: int
    description: str
    key: str | None = None
    traceparent: str | None = None
    id: UUID = msgspec.field(default_factory=uuid7)


class Placed(msgspec.Struct, frozen=True):
    """`replayed` when the order of this key was placed before."""

    id: UUID
    created_at: datetime
    replayed: bool


class PlaceOrders:
    """What the batcher flushes. `committed` wakes the relay."""

    def __init__(self, database: Database, replica: str, committed: Callable[[], None]) -> None:
        self._database = database
        self._replica = replica
        self._committed = committed

    async def __call__(self, orders: Sequence[NewOrder]) -> list[Placed | Exception]:
        """Writes all that are new, or nothing. A key used with another body yields a 422 Problem."""
        with tracing.batch("place orders", (order.traceparent for order in orders)):
            async with self._database.autocommit() as connection:
                placed = await _place(connection, orders, journey.now(ACCEPTED, self._replica))
        self._committed()
        ACCEPTED_ORDERS.inc(len(placed))
        first = await self._look_up([order for order in orders if order.id not in placed])
        return [_outcome(order, placed, first) for order in orders]

    async def _look_up(self, repeated: Sequence[NewOrder]) -> OfKey:
        """Never raises: the other orders are placed, and their callers must be told so."""
        if not repeated:
            return {}
        try:
            async with self._database.autocommit() as connection:
                return await _first_of_keys(connection, repeated)
        except Exception as error:  # noqa: BLE001 (what is not found is answered with 503)
            log.warning("repeated keys cannot be looked up", error=repr(error))
            return {}


def _outcome(order: NewOrder, placed: Mapping[UUID, datetime], first: OfKey) -> Placed | Exception:
    if order.id in placed:
        return Placed(order.id, placed[order.id], replayed=False)
    earlier = first.get((order.user_id, order.key))
    if earlier is None:
        return unavailable("What this key was used for cannot be found out right now.")
    if (earlier.amount, earlier.description) != (order.amount, order.description):
        return key_reused()
    return Placed(earlier.id, earlier.created_at, replayed=True)


async def _place(connection: Connection, orders: Sequence[NewOrder], hop: Hop) -> dict[UUID, datetime]:
    """The ids that are new, and when they were created."""
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
    placed = {row.id: row.created_at for row in rows}
    event_log.each(ACCEPTED, (e.event for order, e in zip(orders, events, strict=True) if order.id in placed))
    return placed


async def _first_of_keys(connection: Connection, repeated: Sequence[NewOrder]) -> OfKey:
    rows = await connection.fetch(
        FIRST_OF_KEYS, [order.user_id for order in repeated], [order.key for order in repeated]
    )
    return {(row.user_id, row.idempotency_key): row for row in rows}
