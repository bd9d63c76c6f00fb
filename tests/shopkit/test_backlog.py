import math
from uuid import UUID

from prometheus_client import REGISTRY, Gauge

from orders import remind
from orders.place_order import NewOrder, PlaceOrders
from shopkit.db.database import Database
from shopkit.db.gauges import Backlog
from shopkit.messaging import inbox_store, outbox
from shopkit.messaging.inbox_store import ReceivedEvent
from tests.servers import rows
from tests.support import free_port


async def measured(database: Database, backlog: tuple[str, *tuple[Gauge, ...]], *names: str) -> list[float | None]:
    await Backlog(database, *backlog).measure()
    return [REGISTRY.get_sample_value(name) for name in names]


async def place_three_orders(database: Database) -> None:
    await PlaceOrders(database, "orders-1", lambda: None).place([NewOrder("ann", 1, "a lamp") for _ in range(3)])


async def test_the_outbox_gauges_show_count_and_age_of_waiting_events(orders_database: Database) -> None:
    names = "gozon_outbox_waiting", "gozon_outbox_oldest_seconds"
    assert await measured(orders_database, outbox.BACKLOG, *names) == [0, 0]
    await place_three_orders(orders_database)
    await rows(
        orders_database,
        "UPDATE outbox SET created_at = now() - interval '90 seconds' WHERE id = (SELECT min(id) FROM outbox)",
    )
    count, age = await measured(orders_database, outbox.BACKLOG, *names)
    assert count == 3
    assert age is not None
    assert age >= 90


async def test_the_overdue_gauge_counts_orders_that_stay_new_too_long(orders_database: Database) -> None:
    await place_three_orders(orders_database)
    (one, *_) = await rows(orders_database, "SELECT id FROM orders")
    older = "UPDATE orders SET created_at = now() - interval '2 minutes' WHERE id = :id"
    await rows(orders_database, older, id=one.id)
    assert await measured(orders_database, remind.OVERDUE, "gozon_orders_overdue") == [1]


async def test_overdue_orders_are_counted_up_to_100_000(orders_database: Database) -> None:
    await rows(
        orders_database,
        """
        INSERT INTO orders (id, user_id, amount, description, created_at)
        SELECT gen_random_uuid(), 'ann', 1, 'a lamp', now() - interval '2 minutes' FROM generate_series(1, 100001)
        """,
    )
    assert await measured(orders_database, remind.OVERDUE, "gozon_orders_overdue") == [100_000]


async def test_the_inbox_gauges_count_waiting_events_and_dead_letters(payments_database: Database) -> None:
    events = [ReceivedEvent(UUID(int=n), "order.created", b"{}") for n in range(3)]
    async with payments_database.begin() as connection:
        await inbox_store.store(connection, events, "payments-1")
        await inbox_store.dead_letter(connection, events[0].event_id, "wrong")
    assert await measured(payments_database, inbox_store.BACKLOG, "gozon_inbox_waiting") == [2]
    assert await measured(payments_database, inbox_store.DEAD_LETTERS, "gozon_parked_events") == [1]
    await rows(payments_database, "UPDATE dead_letters SET resolved_at = now(), resolution = 'discarded'")
    assert await measured(payments_database, inbox_store.DEAD_LETTERS, "gozon_parked_events") == [0]


async def test_a_gauge_is_nan_while_the_database_is_unavailable() -> None:
    unavailable = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/none", "orders")
    gauge = Gauge("gozon_test_gauge", "For this test")
    gauge.set(5)
    await Backlog(unavailable, "SELECT 1", gauge).measure()
    assert math.isnan(REGISTRY.get_sample_value("gozon_test_gauge") or 0)
