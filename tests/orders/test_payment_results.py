import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from uuid_utils.compat import uuid7

from gozon.topology import PAYMENT_RESULTS, TOPOLOGY
from orders.apply_payment_results import LOCK, ApplyResults, first_result_per_order
from orders.messages import PaymentEvent, decode_payment_event
from orders.place_order import NewOrder, PlaceOrders
from payments.messages import payment_decided
from shopkit.db.database import Database, Row
from shopkit.messaging import journey
from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.consumer import Consumer, Refused
from shopkit.messaging.journey import Hop, now
from shopkit.messaging.publisher import Publisher
from tests.conftest import Spawn
from tests.servers import Broker, Forwarder, counted, rows, running, stands_still, succeeds
from tests.support import Caller, eventually

AMOUNT = 500


async def placed(database: Database, count: int = 1) -> list[UUID]:
    orders = [NewOrder("ann", AMOUNT, f"lamp {n}", id=uuid7()) for n in range(count)]
    await PlaceOrders(database, "orders-1", lambda: None).place(orders)
    await rows(database, "DELETE FROM outbox")
    return [order.id for order in orders]


def result(
    order_id: UUID,
    reason: str | None = None,
    journey: Sequence[Hop] = (),
    *,
    user_id: str = "ann",
    amount: int = AMOUNT,
) -> PaymentEvent:
    """Returns a new event, encoded by payments and decoded by orders."""
    return decode_payment_event(payment_decided(order_id, user_id, amount, reason, None, journey).event)


async def refused(applying: Awaitable[None]) -> dict[int, str]:
    """Returns the reasons of the Refused that `applying` must raise."""
    with pytest.raises(Refused) as refusal:
        await applying
    return dict(refusal.value.reasons)


async def order(database: Database, order_id: UUID) -> Row:
    (row,) = await rows(database, "SELECT status, reason, version FROM orders WHERE id = :id", id=order_id)
    return row


async def status_events(database: Database) -> list[tuple[str, UUID]]:
    """Returns type and order id of each event in the outbox."""
    events = [json.loads(row.event) for row in await rows(database, "SELECT event FROM outbox ORDER BY id")]
    return [(event["type"], UUID(event["subject"])) for event in events]


async def journeys(database: Database) -> dict[UUID, tuple[list[str], list[str]]]:
    """Returns the hops of each order, as stored with it and as carried by its status event."""
    events = [json.loads(row.event) for row in await rows(database, "SELECT event FROM outbox")]
    of_event = {UUID(event["subject"]): [hop["hop"] for hop in event["journey"]] for event in events}
    orders = await rows(database, "SELECT id, journey FROM orders")
    return {order.id: ([hop.hop for hop in journey.decode(order.journey)], of_event[order.id]) for order in orders}


@pytest.fixture
def results(orders_database: Database) -> ApplyResults:
    return ApplyResults(orders_database, "orders-1", lambda: None)


async def test_a_paid_order_is_finished_and_its_event_is_written_in_the_same_transaction(
    orders_database: Database, results: ApplyResults
) -> None:
    (order_id,) = await placed(orders_database)
    await results.apply([result(order_id)])
    (row,) = await rows(
        orders_database,
        "SELECT status, version, routing_key, event, orders.xmin = outbox.xmin AS together FROM orders, outbox",
    )
    assert (row.status, row.version, row.routing_key, row.together) == ("FINISHED", 2, "order.finished", True)
    assert json.loads(row.event)["data"] == {
        "order_id": str(order_id),
        "user_id": "ann",
        "amount": AMOUNT,
        "description": "lamp 0",
        "status": "FINISHED",
        "version": 2,
    }


async def test_an_unpaid_order_is_cancelled_with_its_reason(
    orders_database: Database, results: ApplyResults
) -> None:
    (order_id,) = await placed(orders_database)
    await results.apply([result(order_id, "insufficient_funds")])
    assert await order(orders_database, order_id) == ("CANCELLED", "insufficient_funds", 2)
    (row,) = await rows(orders_database, "SELECT routing_key, event FROM outbox")
    assert row.routing_key == "order.cancelled"
    assert json.loads(row.event)["data"]["reason"] == "insufficient_funds"


async def test_a_result_repeated_in_one_batch_is_applied_once(
    orders_database: Database, results: ApplyResults
) -> None:
    one, other = await placed(orders_database, 2)
    before = counted("gozon_duplicate_events", stage="payment-results")
    again = result(one)
    await results.apply([again, again, result(other, "no_account"), result(one)])
    assert await order(orders_database, one) == ("FINISHED", None, 2)
    assert await order(orders_database, other) == ("CANCELLED", "no_account", 2)
    assert sorted(await status_events(orders_database)) == [("order.cancelled", other), ("order.finished", one)]
    assert counted("gozon_duplicate_events", stage="payment-results") == before + 2


async def test_a_result_repeated_in_a_later_batch_changes_nothing(
    orders_database: Database, results: ApplyResults
) -> None:
    first, second = await placed(orders_database, 2)
    await results.apply([result(first)])
    await results.apply([result(first), result(second)])
    await results.apply([result(second), result(first)])
    assert await order(orders_database, first) == ("FINISHED", None, 2)
    assert await status_events(orders_database) == [("order.finished", first), ("order.finished", second)]


def test_the_first_of_several_results_for_an_order_is_used() -> None:
    one, other = uuid4(), uuid4()
    first, contradicting, again = result(one), result(one, "no_account"), result(one)
    only = result(other, "no_account")
    wrong_amount = result(one, amount=AMOUNT + 1)
    results = first_result_per_order([wrong_amount, first, contradicting, only, again])
    assert {event.id for event in results.values()} == {first.id, only.id, wrong_amount.id}


@pytest.mark.parametrize(
    ("first", "then", "status"), [(None, "no_account", "FINISHED"), ("no_account", None, "CANCELLED")]
)
@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_a_contradicting_result_is_counted_and_not_applied(
    orders_database: Database,
    results: ApplyResults,
    first: str | None,
    then: str | None,
    status: str,
    in_one_batch: bool,
) -> None:
    (order_id,) = await placed(orders_database)
    before = counted("gozon_contradicting_results")
    events = [result(order_id, first), result(order_id, then)]
    if in_one_batch:
        reasons = await refused(results.apply(events))
        assert reasons == {1: f"the order is {status}"}
    else:
        await results.apply(events[:1])
        assert await refused(results.apply(events[1:])) == {0: f"the order is {status}"}
    assert await order(orders_database, order_id) == (status, first, 2)
    assert len(await status_events(orders_database)) == 1
    assert counted("gozon_contradicting_results") == before + 1


HOPS = [now(hop, "payments-1") for hop in ("accepted", "relayed", "received", "settled", "result_relayed")]
OWN = ["accepted", "updated"]


@pytest.mark.parametrize(
    ("of_result", "expected"),
    [(HOPS, [*(hop.hop for hop in HOPS), "updated"]), ([], OWN)],
    ids=["with-a-journey", "of-an-older-release"],
)
async def test_an_order_takes_the_journey_of_its_result_or_keeps_its_own(
    orders_database: Database, results: ApplyResults, of_result: list[Hop], expected: list[str]
) -> None:
    first, second = await placed(orders_database, 2)
    await results.apply([result(first, journey=of_result), result(second)])
    assert await journeys(orders_database) == {first: (expected, expected), second: (OWN, OWN)}
    await results.apply([result(first, journey=HOPS[:1]), result(second, journey=HOPS)])
    assert await journeys(orders_database) == {first: (expected, expected), second: (OWN, OWN)}


async def test_an_order_of_an_older_release_without_a_journey_gets_the_new_hop_only(
    orders_database: Database, results: ApplyResults
) -> None:
    (order_id,) = await placed(orders_database)
    await rows(orders_database, "UPDATE orders SET journey = DEFAULT")
    await results.apply([result(order_id)])
    assert await journeys(orders_database) == {order_id: (["updated"], ["updated"])}


async def test_a_result_for_an_unknown_order_does_not_affect_other_results(
    orders_database: Database, results: ApplyResults
) -> None:
    (order_id,) = await placed(orders_database)
    unknown = "there is no such order"
    batch = [result(uuid4()), result(order_id), result(uuid4(), "no_account")]
    assert await refused(results.apply(batch)) == {0: unknown, 2: unknown}
    assert await refused(results.apply([result(uuid4())])) == {0: unknown}
    assert await status_events(orders_database) == [("order.finished", order_id)]


@pytest.mark.parametrize("wrong", [{"user_id": "bob"}, {"amount": AMOUNT - 1}], ids=["user", "amount"])
@pytest.mark.parametrize("reason", [None, "no_account"], ids=["paid", "unpaid"])
async def test_a_result_with_another_user_or_amount_is_not_applied(
    orders_database: Database, results: ApplyResults, wrong: dict[str, Any], reason: str | None
) -> None:
    alone, (first, second) = (await placed(orders_database))[0], await placed(orders_database, 2)
    before = counted("gozon_contradicting_results")
    disagrees = "the order has another user or amount"
    assert await refused(results.apply([result(alone, reason, **wrong)])) == {0: disagrees}
    assert await order(orders_database, alone) == ("NEW", None, 1)

    batch = [result(first, reason, **wrong), result(first), result(second), result(second, reason, **wrong)]
    assert await refused(results.apply(batch)) == {0: disagrees, 3: disagrees}
    assert await status_events(orders_database) == [("order.finished", first), ("order.finished", second)]
    redelivered = result(first, **wrong)
    assert await refused(results.apply([redelivered, redelivered])) == {0: disagrees, 1: disagrees}
    assert counted("gozon_contradicting_results") == before + 5


async def test_a_contradicting_result_becomes_a_dead_letter_and_the_other_results_are_applied(
    orders_database: Database, results: ApplyResults, broker: Broker, broker_url: str
) -> None:
    publisher = Publisher(RabbitMQ(broker_url, TOPOLOGY), "test")
    wrong, right = await placed(orders_database, 2)
    disagreeing = payment_decided(wrong, "ann", AMOUNT - 1, None)
    unknown = payment_decided(uuid4(), "ann", AMOUNT, None)
    consumer = Consumer(
        RabbitMQ(broker_url, TOPOLOGY), "test", PAYMENT_RESULTS, decode_payment_event, results.apply, publisher
    )
    failures = counted("gozon_handler_failures", stage=PAYMENT_RESULTS.name)
    await broker.publish(disagreeing, payment_decided(right, "ann", AMOUNT, None), unknown)
    async with running(publisher, consumer):
        letters = [await broker.take(PAYMENT_RESULTS.dead) for _ in range(2)]
    assert [(letter.body, letter.headers["x-reason"]) for letter in letters] == [
        (b"[%s]" % disagreeing.event, "the order has another user or amount"),
        (b"[%s]" % unknown.event, "there is no such order"),
    ]
    assert await status_events(orders_database) == [("order.finished", right)]
    assert await broker.left_in(PAYMENT_RESULTS.name) == 0
    assert counted("gozon_handler_failures", stage=PAYMENT_RESULTS.name) == failures


async def test_replicas_with_overlapping_batches_apply_each_result_once(orders_database: Database) -> None:
    ids = await placed(orders_database, 60)
    batches = [ids[0:40], ids[20:60][::-1], ids[10:50], ids[::-1]]
    replicas = [ApplyResults(orders_database, "orders-1", lambda: None) for _ in batches]
    await asyncio.gather(
        *(
            replica.apply([result(order_id) for order_id in batch])
            for replica, batch in zip(replicas, batches, strict=True)
        )
    )
    assert sorted(await status_events(orders_database)) == sorted(("order.finished", order_id) for order_id in ids)
    assert not await rows(orders_database, "SELECT 1 FROM orders WHERE status <> 'FINISHED' OR version <> 2")


# Makes the order the last in the table, and the last in the index of NEW orders.
MOVED_LAST = "UPDATE orders SET remind_at = remind_at + interval '1 hour' WHERE id = :id"


async def test_a_batch_locks_its_orders_in_the_order_of_their_ids(
    orders_database: Database, results: ApplyResults
) -> None:
    first, second = await placed(orders_database, 2)
    await rows(orders_database, MOVED_LAST, id=first)
    async with orders_database.begin() as other_replica:
        await other_replica.execute(LOCK, [first])
        applying = asyncio.create_task(results.apply([result(second), result(first)]))
        await eventually(partial(stands_still, orders_database))
        await other_replica.execute(LOCK, [second])
    await applying
    assert len(await status_events(orders_database)) == 2


async def test_orders_are_locked_in_the_order_of_their_ids_with_any_query_plan(orders_database: Database) -> None:
    """An index scan locks in this order even without ORDER BY. A sequential scan does not."""
    first, second = await placed(orders_database, 2)
    await rows(orders_database, MOVED_LAST, id=first)

    async def lock_by_scan() -> None:
        async with orders_database.begin() as replica:
            await replica.execute("SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off")
            await replica.execute(LOCK, [first, second])

    async with orders_database.begin() as other_replica:
        await other_replica.execute(LOCK, [first])
        scanning = asyncio.create_task(lock_by_scan())
        await eventually(partial(stands_still, orders_database))
        await other_replica.execute(LOCK, [second])
    await scanning


async def test_results_wait_while_the_database_is_unavailable(
    orders_database: Database,
    orders_url: str,
    broker: Broker,
    broker_url: str,
    way_to: Callable[[str], Forwarder],
) -> None:
    (order_id,) = await placed(orders_database)
    way = way_to(orders_url)
    await way.open()
    far = Database(way.url, "orders")
    await far.open()
    publisher = Publisher(RabbitMQ(broker_url, TOPOLOGY), "test")
    results = ApplyResults(far, "orders-1", lambda: None)
    consumer = Consumer(
        RabbitMQ(broker_url, TOPOLOGY), "test", PAYMENT_RESULTS, decode_payment_event, results.apply, publisher
    )
    failures = counted("gozon_handler_failures", stage=PAYMENT_RESULTS.name)

    async def tried() -> bool:
        return counted("gozon_handler_failures", stage=PAYMENT_RESULTS.name) > failures

    async def is_finished() -> bool:
        return (await order(orders_database, order_id))[0] == "FINISHED"

    async with running(publisher, consumer):
        await succeeds(consumer.check)
        await way.cut()
        await broker.publish(payment_decided(order_id, "ann", AMOUNT, None))
        await eventually(tried)
        await way.open()
        await eventually(is_finished)
    await far.close()
    assert await status_events(orders_database) == [("order.finished", order_id)]
    assert await broker.left_in(PAYMENT_RESULTS.name) == 0
    assert await broker.ready_in(PAYMENT_RESULTS.dead) == 0


async def test_an_order_is_created_and_finished_once_with_two_replicas(
    spawn: Spawn, session: aiohttp.ClientSession, orders_url: str, broker: Broker, broker_url: str
) -> None:
    first, second = await asyncio.gather(
        *(spawn("orders", DATABASE_URL=orders_url, BROKER_URL=broker_url) for _ in range(2))
    )
    buyer = Caller(session, first.url)
    order_id = await buyer.order(AMOUNT)
    (created,) = await broker.take_events("payments.order-created")
    assert created["data"] == {"order_id": order_id, "user_id": buyer.user_id, "amount": AMOUNT}

    paid = payment_decided(UUID(order_id), buyer.user_id, AMOUNT, None)
    for event in (paid, paid, payment_decided(UUID(order_id), buyer.user_id, AMOUNT, None)):
        await broker.publish(event)
    assert (await Caller(session, second.url, buyer.user_id).decided(order_id))["status"] == "FINISHED"

    async def all_received() -> bool:
        received = [await replica.metric(session, "gozon_received_events_total") for replica in (first, second)]
        return sum(received) == 3

    await eventually(all_received)
    (finished,) = await broker.take_events("notifier.order-status")
    assert (finished["type"], finished["subject"], finished["data"]["version"]) == ("order.finished", order_id, 2)
    await first.stop()
    await second.stop()
    for queue in ("orders.payment-results", "notifier.order-status", "payments.order-created"):
        assert await broker.left_in(queue) == 0
