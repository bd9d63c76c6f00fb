import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from orders.models import orders
from orders.place_order import NewOrder, PlaceOrders
from payments.accounts import NewTopUp, TopUps, open_account
from payments.models import ledger_entries
from shopkit.db import retention
from shopkit.db.database import Database
from shopkit.db.periodic import Periodic
from shopkit.db.retention import CRASH_NOTES, PROCESSED_EVENTS, Retention
from shopkit.messaging import inbox_store
from shopkit.messaging.inbox_store import ReceivedEvent
from shopkit.runtime.settings import load
from tests.servers import counted, rows, running
from tests.support import eventually

WINDOW = 72


def keys_of_orders(database: Database) -> Retention:
    return Retention(database, "idempotency_keys", retention.expired_keys(orders), WINDOW)


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def id_of(hours: float) -> UUID:
    """Returns a UUIDv7 whose time is `hours` ago."""
    milliseconds = int(hours_ago(hours).timestamp() * 1000)
    return UUID(int=milliseconds << 80 | uuid7().int & (1 << 80) - 1)


async def placed(database: Database, hours: float, key: str) -> UUID:
    order = NewOrder("ann", 500, "a lamp", key, id=id_of(hours))
    (outcome,) = await PlaceOrders(database, "orders-1", lambda: None).place([order])
    assert not isinstance(outcome, Exception)
    return outcome.id


async def keys(database: Database, table: str = "orders") -> list[str]:
    query = f"SELECT idempotency_key FROM {table} WHERE idempotency_key IS NOT NULL ORDER BY id"
    return [row.idempotency_key for row in await rows(database, query)]


async def received(database: Database, processed_hours_ago: float | None) -> UUID:
    event = ReceivedEvent(uuid7(), "order.created", b"{}")
    async with database.begin() as connection:
        await inbox_store.store(connection, [event], "payments-1")
    if processed_hours_ago is not None:
        at = hours_ago(processed_hours_ago)
        query = "UPDATE inbox SET processed_at = :at WHERE event_id = :id"
        await rows(database, query, at=at, id=event.event_id)
    return event.event_id


async def test_a_key_is_cleared_after_its_window_and_not_before(orders_database: Database) -> None:
    before = counted("gozon_retention_removed", what="idempotency_keys")
    await placed(orders_database, WINDOW + 0.1, "old")
    await placed(orders_database, WINDOW - 0.1, "young")
    assert await keys_of_orders(orders_database).delete_batch() is False
    assert await keys(orders_database) == ["young"]
    assert counted("gozon_retention_removed", what="idempotency_keys") == before + 1
    assert len(await rows(orders_database, "SELECT 1 FROM orders")) == 2


async def test_a_cleared_key_can_be_used_again(orders_database: Database) -> None:
    first = await placed(orders_database, WINDOW + 1, "key")
    assert await placed(orders_database, 0, "key") == first
    await keys_of_orders(orders_database).delete_batch()
    assert await placed(orders_database, 0, "key") != first


async def test_each_batch_of_keys_continues_after_the_previous_one(
    orders_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RETENTION_BATCH_SIZE", 2)
    for n in range(5):
        await placed(orders_database, WINDOW + 10 - n, f"key {n}")
    keys_of_the_orders = keys_of_orders(orders_database)
    assert await keys_of_the_orders.delete_batch() is True
    assert await keys(orders_database) == ["key 2", "key 3", "key 4"]
    # A row that was examined is not examined again.
    (oldest, *_) = await rows(orders_database, "SELECT id FROM orders ORDER BY id")
    await rows(orders_database, "UPDATE orders SET idempotency_key = 'set again' WHERE id = :id", id=oldest.id)
    assert [await keys_of_the_orders.delete_batch(), await keys_of_the_orders.delete_batch()] == [True, False]
    assert await keys(orders_database) == ["set again"]


async def test_concurrent_replicas_clear_all_expired_keys(
    orders_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RETENTION_BATCH_SIZE", 10)
    for n in range(30):
        await placed(orders_database, WINDOW + 100 - n, f"key {n}")
    await placed(orders_database, 1, "young")
    workers = [
        Periodic("clearing", orders_database, 0.01, keys_of_orders(orders_database).delete_batch) for _ in range(3)
    ]

    async def all_cleared() -> bool:
        return await keys(orders_database) == ["young"]

    async with running(*workers):
        await eventually(all_cleared)


async def test_the_key_of_a_top_up_is_cleared_too(payments_database: Database) -> None:
    await open_account(payments_database, "ann")
    await TopUps(payments_database).top_up([NewTopUp("ann", 100, "old"), NewTopUp("ann", 100, "young")])
    await rows(payments_database, "UPDATE ledger_entries SET id = :id WHERE idempotency_key = 'old'", id=id_of(80))
    keys_of_top_ups = Retention(
        payments_database, "idempotency_keys", retention.expired_keys(ledger_entries), WINDOW
    )
    await keys_of_top_ups.delete_batch()
    assert await keys(payments_database, "ledger_entries") == ["young"]


async def test_processed_events_are_deleted_after_their_window_and_waiting_events_never(
    payments_database: Database,
) -> None:
    await received(payments_database, WINDOW + 1)
    kept = {await received(payments_database, WINDOW - 1), await received(payments_database, None)}
    await rows(payments_database, "UPDATE inbox SET received_at = now() - interval '1 year'")
    processed = Retention(payments_database, "processed_events", PROCESSED_EVENTS, WINDOW)
    assert await processed.delete_batch() is False
    assert {row.event_id for row in await rows(payments_database, "SELECT event_id FROM inbox")} == kept


async def test_several_replicas_delete_processed_events_in_batches(
    payments_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RETENTION_BATCH_SIZE", 4)
    for _ in range(12):
        await received(payments_database, WINDOW + 1)
    processed = Retention(payments_database, "processed_events", PROCESSED_EVENTS, WINDOW)
    before = counted("gozon_retention_removed", what="processed_events")
    assert all(await asyncio.gather(processed.delete_batch(), processed.delete_batch(), processed.delete_batch()))
    assert counted("gozon_retention_removed", what="processed_events") == before + 12
    assert await processed.delete_batch() is False


async def test_crash_notes_of_long_ended_processes_are_deleted(payments_database: Database) -> None:
    note = "INSERT INTO inbox_in_hand (id, event_ids, replica, taken_at) VALUES (:id, '{}', 'payments-1', :at)"
    for hours in (WINDOW + 1, 1):
        await rows(payments_database, note, id=uuid7(), at=hours_ago(hours))
    await Retention(payments_database, "crash_notes", CRASH_NOTES, WINDOW).delete_batch()
    assert len(await rows(payments_database, "SELECT 1 FROM inbox_in_hand")) == 1


@pytest.mark.parametrize("hours", ["47", "0", "-1", "two days"])
def test_keys_cannot_be_kept_for_less_than_two_days(hours: str) -> None:
    from orders.app import OrdersSettings

    environ = {"DATABASE_URL": "postgresql://x", "BROKER_URL": "amqp://x", "KEEP_KEYS_HOURS": hours}
    with pytest.raises(SystemExit, match="KEEP_KEYS_HOURS"):
        load(OrdersSettings, environ)
