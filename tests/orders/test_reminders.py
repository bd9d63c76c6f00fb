import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from orders import remind
from orders.apply_payment_results import ApplyResults
from orders.messages import decode_payment_event
from orders.place_order import NewOrder, PlaceOrders
from orders.remind import Reconciler
from payments.messages import decode_order_created, payment_decided
from shopkit.db.database import Database
from tests.servers import counted, rows


@pytest.fixture
def reconciler(orders_database: Database) -> Reconciler:
    return Reconciler(orders_database, lambda: None)


async def placed(database: Database, count: int = 1) -> list[UUID]:
    """Places orders whose events were published and lost, and whose first reminder is due."""
    orders = [NewOrder("ann", 500, f"lamp {n}") for n in range(count)]
    await PlaceOrders(database, "orders-1", lambda: None).place(orders)
    await rows(database, "DELETE FROM outbox")
    await rows(database, "UPDATE orders SET remind_at = now()")
    return [order.id for order in orders]


async def sent(database: Database) -> list[dict[str, Any]]:
    return [json.loads(row.event) for row in await rows(database, "SELECT event FROM outbox ORDER BY id")]


async def test_an_order_that_stays_new_is_published_again_as_a_new_event(
    orders_database: Database, reconciler: Reconciler
) -> None:
    before = counted("gozon_orders_reminded")
    (order_id,) = await placed(orders_database)
    assert await reconciler.remind() is False
    (row,) = await rows(orders_database, "SELECT event_id, routing_key, event FROM outbox")
    event = decode_order_created(row.event)
    assert (row.routing_key, row.event_id) == ("order.created", event.id)
    assert (event.data.order_id, event.data.user_id, event.data.amount) == (order_id, "ann", 500)
    assert [hop.hop for hop in event.journey] == ["accepted"]
    assert event.traceparent
    assert counted("gozon_orders_reminded") == before + 1


async def test_no_reminder_is_sent_in_the_first_minute(orders_database: Database, reconciler: Reconciler) -> None:
    await placed(orders_database)
    await rows(orders_database, "UPDATE orders SET remind_at = DEFAULT")
    await reconciler.remind()
    assert await sent(orders_database) == []
    (row,) = await rows(orders_database, "SELECT remind_at - now() AS wait FROM orders")
    assert 50 < row.wait.total_seconds() <= 60


async def test_no_reminder_is_sent_for_a_decided_order(orders_database: Database, reconciler: Reconciler) -> None:
    (order_id,) = await placed(orders_database)
    paid = decode_payment_event(payment_decided(order_id, "ann", 500, None).event)
    await ApplyResults(orders_database, "orders-1", lambda: None).apply([paid])
    await rows(orders_database, "DELETE FROM outbox")
    await reconciler.remind()
    assert await sent(orders_database) == []


async def test_the_waits_between_reminders_double_up_to_an_hour(
    orders_database: Database, reconciler: Reconciler
) -> None:
    await placed(orders_database)
    waits: list[int] = []
    for _ in range(8):
        await rows(orders_database, "UPDATE orders SET remind_at = now()")
        await reconciler.remind()
        (row,) = await rows(orders_database, "SELECT remind_at - now() AS wait FROM orders")
        waits.append(round(row.wait.total_seconds() / 60))
        await reconciler.remind()
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert len(await sent(orders_database)) == len(waits)


async def test_reminders_end_after_sixteen(orders_database: Database, reconciler: Reconciler) -> None:
    await placed(orders_database)
    for _ in range(20):
        await rows(orders_database, "UPDATE orders SET remind_at = now() WHERE remind_at < 'infinity'")
        await reconciler.remind()
    assert len(await sent(orders_database)) == 16


async def test_no_reminder_is_sent_while_the_relay_does_not_publish(
    orders_database: Database, reconciler: Reconciler
) -> None:
    await placed(orders_database)
    await PlaceOrders(orders_database, "orders-1", lambda: None).place([NewOrder("bob", 1, "a candle")])
    await rows(orders_database, "UPDATE outbox SET created_at = now() - interval '31 seconds'")
    await reconciler.remind()
    assert len(await sent(orders_database)) == 1

    await rows(orders_database, "UPDATE outbox SET created_at = now() - interval '20 seconds'")
    await reconciler.remind()
    assert len(await sent(orders_database)) == 2


async def test_reminders_of_many_orders_are_sent_in_batches(
    orders_database: Database, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remind, "REMINDER_BATCH_SIZE", 3)
    orders = await placed(orders_database, 7)
    assert [await reconciler.remind() for _ in range(3)] == [True, True, False]
    assert {UUID(event["subject"]) for event in await sent(orders_database)} == set(orders)


async def test_concurrent_replicas_send_one_reminder_per_order(orders_database: Database) -> None:
    orders = await placed(orders_database, 200)
    await asyncio.gather(*(Reconciler(orders_database, lambda: None).remind() for _ in range(4)))
    assert sorted(event["subject"] for event in await sent(orders_database)) == sorted(map(str, orders))
