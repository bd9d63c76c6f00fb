import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import aiohttp
import msgspec
import pytest
from uuid_utils.compat import uuid7

from gozon.topology import ORDER_CREATED
from orders.messages import OrderCreated, order_created
from payments.accounts import NewTopUp, TopUps, open_account
from payments.charge_orders import ChargeOrders
from payments.messages import receive
from shopkit.db.database import Database
from shopkit.messaging.events import Outgoing
from shopkit.messaging.inbox import Inbox
from shopkit.messaging.inbox_store import WaitingEvent
from shopkit.messaging.journey import now
from tests.conftest import Spawn
from tests.payments.audit import audit
from tests.servers import Broker, counted, rows, running, stands_still
from tests.support import Caller, Replica, eventually

CHARGED = "SELECT order_id FROM payments WHERE outcome = 'succeeded'"
CHARGE = ChargeOrders("payments-1", lambda: None).charge
RESULTS = "orders.payment-results"


@pytest.fixture
def inbox(payments_database: Database) -> Inbox:
    return Inbox(payments_database, "payments-1", CHARGE)


async def opened(database: Database, user_id: str, balance: int) -> None:
    await open_account(database, user_id)
    if balance:
        await TopUps(database).top_up([NewTopUp(user_id, balance)])


async def ingest(database: Database, *events: Outgoing) -> None:
    """Stores events in the inbox, as the consumer does."""
    await Inbox(database, "payments-1", CHARGE).store([receive(event.event) for event in events])


def waiting_row(event: Outgoing) -> WaitingEvent:
    return WaitingEvent(event.event_id, event.routing_key, event.event, datetime.now(UTC), "payments-1")


async def results(database: Database) -> list[tuple[str, UUID, str | None]]:
    """Returns type, order id and reason of each result in the outbox."""
    events = [json.loads(row.event) for row in await rows(database, "SELECT event FROM outbox ORDER BY id")]
    return [(event["type"], UUID(event["subject"]), event["data"].get("reason")) for event in events]


async def journeys(database: Database) -> list[list[tuple[str, str]]]:
    """Returns hops and replicas of the journey of each result in the outbox. Checks that their times increase."""
    events = [json.loads(row.event) for row in await rows(database, "SELECT event FROM outbox ORDER BY id")]
    for event in events:
        times = [datetime.fromisoformat(hop["at"]) for hop in event["journey"]]
        assert times == sorted(times)
    return [[(hop["hop"], hop["replica"]) for hop in event["journey"]] for event in events]


async def dead_letters(database: Database) -> list[UUID]:
    return [row.event_id for row in await rows(database, "SELECT event_id FROM dead_letters ORDER BY id")]


async def waiting(database: Database) -> int:
    return len(await rows(database, "SELECT 1 FROM inbox WHERE processed_at IS NULL"))


async def test_a_charge_is_a_payment_a_debit_a_balance_and_a_result_in_one_transaction(
    payments_database: Database, inbox: Inbox
) -> None:
    await opened(payments_database, "ann", 500)
    order_id = uuid4()
    await ingest(payments_database, order_created(order_id, "ann", 200))
    await inbox.process_batch()

    assert await audit(payments_database) == {"ann": 300}
    (row,) = await rows(
        payments_database,
        """
        SELECT outcome, reason, payments.account_version AS found, balance_before, kind, ledger_entries.amount,
               ledger_entries.account_version AS version, balance_after, routing_key,
               payments.xmin = ALL (ARRAY[ledger_entries.xmin, accounts.xmin, outbox.xmin, inbox.xmin]) AS together
        FROM payments JOIN ledger_entries USING (order_id), accounts, outbox, inbox WHERE order_id = :order_id
        """,
        order_id=order_id,
    )
    assert row == ("succeeded", None, 1, 500, "debit", -200, 2, 300, "payment.succeeded", True)
    (event,) = await rows(payments_database, "SELECT event FROM outbox")
    assert json.loads(event.event)["data"] == {"order_id": str(order_id), "user_id": "ann", "amount": 200}


@pytest.mark.parametrize(("user_id", "reason"), [("ann", "insufficient_funds"), ("nobody", "no_account")])
async def test_a_declined_order_gets_a_result_with_a_reason_and_no_debit(
    payments_database: Database, inbox: Inbox, user_id: str, reason: str
) -> None:
    await opened(payments_database, "ann", 199)
    order_id = uuid4()
    await ingest(payments_database, order_created(order_id, user_id, 200))
    await inbox.process_batch()
    assert await audit(payments_database) == {"ann": 199}
    assert await results(payments_database) == [("payment.failed", order_id, reason)]
    (payment,) = await rows(payments_database, "SELECT order_id, outcome, reason FROM payments")
    assert payment == (order_id, "failed", reason)


async def test_a_decline_is_final(payments_database: Database, inbox: Inbox) -> None:
    order_id = uuid4()
    await ingest(payments_database, order_created(order_id, "ann", 200))
    await inbox.process_batch()
    await opened(payments_database, "ann", 1000)
    await ingest(payments_database, order_created(order_id, "ann", 200))
    await inbox.process_batch()
    assert await results(payments_database) == [("payment.failed", order_id, "no_account")] * 2
    assert await audit(payments_database) == {"ann": 1000}


async def test_orders_of_a_batch_are_decided_in_the_order_of_the_inbox(
    payments_database: Database, inbox: Inbox
) -> None:
    await opened(payments_database, "ann", 100)
    await opened(payments_database, "bob", 100)
    wanted = [("ann", 70), ("bob", 100), ("ann", 50), ("ann", 30), ("bob", 1)]
    created = [order_created(uuid4(), user_id, amount) for user_id, amount in wanted]
    await ingest(payments_database, *created)
    assert await inbox.process_batch() == len(created)
    assert [kind for kind, _, _ in await results(payments_database)] == [
        "payment.succeeded",
        "payment.succeeded",
        "payment.failed",
        "payment.succeeded",
        "payment.failed",
    ]
    assert await audit(payments_database) == {"ann": 0, "bob": 0}


@pytest.mark.parametrize("one_batch", [True, False])
async def test_an_order_with_a_new_event_id_gets_its_result_again_and_no_second_charge(
    payments_database: Database, inbox: Inbox, one_batch: bool
) -> None:
    await opened(payments_database, "ann", 500)
    order_id = uuid4()
    for _ in range(2):
        await ingest(payments_database, order_created(order_id, "ann", 200))
        if not one_batch:
            await inbox.process_batch()
    await inbox.process_batch()
    assert await results(payments_database) == [("payment.succeeded", order_id, None)] * 2
    assert await audit(payments_database) == {"ann": 300}
    assert await dead_letters(payments_database) == []


async def test_a_result_has_the_journey_of_the_event_that_caused_it(
    payments_database: Database,
) -> None:
    order_id = uuid4()
    for number in (1, 2):
        accepted = now("accepted", f"orders-{number}")
        event = order_created(order_id, "ann", 200, None, [accepted])
        store = Inbox(payments_database, f"stored-{number}", CHARGE).store
        await store([receive(event.event)])
        await Inbox(
            payments_database, "any", ChargeOrders(f"settled-{number}", lambda: None).charge
        ).process_batch()
    assert await journeys(payments_database) == [
        [("accepted", f"orders-{n}"), ("received", f"stored-{n}"), ("settled", f"settled-{n}")] for n in (1, 2)
    ]


async def test_an_inbox_row_of_an_older_release_is_charged_and_has_the_known_hops(
    payments_database: Database, inbox: Inbox
) -> None:
    event = order_created(uuid4(), "ann", 200)
    await rows(
        payments_database,
        "INSERT INTO inbox (event_id, type, event) VALUES (:id, :type, :event)",
        id=event.event_id,
        type=event.routing_key,
        event=event.event,
    )
    await inbox.process_batch()
    assert await journeys(payments_database) == [[("received", ""), ("settled", "payments-1")]]


@pytest.mark.parametrize(("user_id", "amount"), [("ann", 201), ("bob", 200), ("nobody", 200)])
@pytest.mark.parametrize("one_batch", [True, False])
async def test_a_repeated_order_with_another_user_or_amount_becomes_a_dead_letter(
    payments_database: Database, inbox: Inbox, user_id: str, amount: int, one_batch: bool
) -> None:
    await opened(payments_database, "ann", 500)
    await opened(payments_database, "bob", 500)
    order_id = uuid4()
    before = counted("gozon_dead_letters", queue="inbox")
    await ingest(payments_database, order_created(order_id, "ann", 200))
    if not one_batch:
        await inbox.process_batch()
    other = order_created(order_id, user_id, amount)
    await ingest(payments_database, other)
    await inbox.process_batch()
    assert await dead_letters(payments_database) == [other.event_id]
    assert await waiting(payments_database) == 0
    assert await results(payments_database) == [("payment.succeeded", order_id, None)]
    assert await audit(payments_database) == {"ann": 300, "bob": 500}
    assert counted("gozon_dead_letters", queue="inbox") == before + 1


async def test_two_events_of_one_order_are_charged_once_by_concurrent_workers(payments_database: Database) -> None:
    await opened(payments_database, "ann", 10_000)
    created = [order_created(uuid4(), "ann", 10) for _ in range(20)]
    again = [order_created(UUID(json.loads(event.event)["subject"]), "ann", 10) for event in created]
    workers = [Inbox(payments_database, "payments-1", CHARGE) for _ in range(3)]

    async def all_done() -> bool:
        return len(await results(payments_database)) == 40

    async with running(*workers):
        for pair in zip(created, again, strict=True):
            await asyncio.gather(*(ingest(payments_database, event) for event in pair))
            for worker in workers:
                worker.wake()
        await eventually(all_done)
    assert await audit(payments_database) == {"ann": 9_800}
    assert len(await rows(payments_database, CHARGED)) == 20


# With an account, the second replica waits for the lock of the account before it reads the payments. Without one,
# the primary key of the payments makes its first attempt fail, and the next attempt finds the payment.
@pytest.mark.parametrize(("user_id", "failed_attempts"), [("ann", 0), ("nobody", 1)])
async def test_an_order_that_another_replica_is_deciding_is_decided_once(
    payments_database: Database, inbox: Inbox, user_id: str, failed_attempts: int
) -> None:
    await opened(payments_database, "ann", 500)
    order_id = uuid4()
    first, second = order_created(order_id, user_id, 200), order_created(order_id, user_id, 200)
    await ingest(payments_database, second)

    async with payments_database.begin() as other_replica:
        await CHARGE(other_replica, [waiting_row(first)])
        working_off = asyncio.create_task(inbox.process_batch())
        await eventually(partial(stands_still, payments_database))
    await working_off
    (row,) = await rows(payments_database, "SELECT attempts FROM inbox")
    assert row.attempts == failed_attempts

    await rows(payments_database, "UPDATE inbox SET not_before = NULL")
    await inbox.process_batch()
    kind, reason = ("payment.failed", "no_account") if failed_attempts else ("payment.succeeded", None)
    assert await results(payments_database) == [(kind, order_id, reason)] * 2
    assert await audit(payments_database) == {"ann": 500 if failed_attempts else 300}
    assert (await dead_letters(payments_database), await waiting(payments_database)) == ([], 0)


async def test_replicas_that_decide_the_same_orders_in_different_sequence_do_not_deadlock(
    payments_database: Database, inbox: Inbox
) -> None:
    low, high = uuid7(), uuid7()
    await ingest(payments_database, order_created(high, "nobody", 200))
    await ingest(payments_database, order_created(low, "nobody", 200))
    async with payments_database.begin() as other_replica:
        await CHARGE(other_replica, [waiting_row(order_created(low, "nobody", 200))])
        working_off = asyncio.create_task(inbox.process_batch())
        await eventually(partial(stands_still, payments_database))
        await CHARGE(other_replica, [waiting_row(order_created(high, "nobody", 200))])
    await working_off
    assert Counter(await results(payments_database)) == {
        ("payment.failed", low, "no_account"): 2,
        ("payment.failed", high, "no_account"): 2,
    }


async def test_concurrent_debits_and_top_ups_lose_no_money(payments_database: Database) -> None:
    await opened(payments_database, "ann", 1_000)
    amounts = [n * 37 % 60 + 1 for n in range(50)]
    created = [order_created(uuid4(), "ann", amount) for amount in amounts]
    workers = [Inbox(payments_database, "payments-1", CHARGE) for _ in range(2)]
    top_up = TopUps(payments_database)

    async def buy(event: Outgoing) -> None:
        await ingest(payments_database, event)
        for worker in workers:
            worker.wake()

    async def all_done() -> bool:
        return len(await results(payments_database)) == 50

    async with running(*workers):
        await asyncio.gather(
            *(buy(event) for event in created), *(top_up.top_up([NewTopUp("ann", 7)]) for _ in range(50))
        )
        await eventually(all_done)
    (paid,) = await rows(
        payments_database, "SELECT coalesce(sum(amount), 0) FROM payments WHERE outcome = 'succeeded'"
    )
    assert await audit(payments_database) == {"ann": 1_000 + 50 * 7 - paid[0]}


def order_created_with(amount: int) -> Outgoing:
    """Returns an order.created with an amount that orders would not send."""
    event = order_created(uuid4(), "ann", 1)
    fields = json.loads(event.event)
    fields["data"] = OrderCreated(UUID(fields["subject"]), "ann", amount)
    return Outgoing(event.event_id, event.routing_key, msgspec.json.encode(fields))


async def all_results(broker: Broker, count: int) -> list[str]:
    """Returns the order ids of the next `count` results."""
    order_ids: list[str] = []
    while len(order_ids) < count:
        order_ids += [event["subject"] for event in await broker.take_events(RESULTS)]
    return order_ids


async def two_replicas(spawn: Spawn, database_url: str, broker_url: str) -> Sequence[Replica]:
    return await asyncio.gather(
        *(spawn("payments", DATABASE_URL=database_url, BROKER_URL=broker_url) for _ in range(2))
    )


async def test_through_two_replicas_an_order_delivered_five_times_is_charged_once(
    spawn: Spawn,
    session: aiohttp.ClientSession,
    payments_database: Database,
    payments_url: str,
    broker: Broker,
    broker_url: str,
) -> None:
    replicas = await two_replicas(spawn, payments_url, broker_url)
    payer = Caller(session, replicas[0].url)
    await payer.open_account(10_000)
    created = [order_created(uuid4(), payer.user_id, 10) for _ in range(20)]

    await asyncio.gather(*(broker.publish(event) for event in [*created, *created]))
    for event in created:
        await broker.publish(event, event)
        await broker.publish(event)

    ids = [json.loads(event.event)["subject"] for event in created]
    assert Counter(await all_results(broker, 20)) == Counter(ids)

    async def all_received() -> bool:
        received = [await replica.metric(session, "gozon_received_events_total") for replica in replicas]
        return sum(received) == 100

    await eventually(all_received)
    assert await waiting(payments_database) == 0
    assert (await audit(payments_database))[payer.user_id] == 9_800
    assert await rows(payments_database, "SELECT 1 FROM outbox") == []
    assert await broker.ready_in(RESULTS) == 0
    assert await payer.balance() == 9_800


@pytest.mark.parametrize("amount", [0, -500, 10**12 + 1])
async def test_an_event_with_an_invalid_amount_becomes_a_dead_letter_in_the_broker(
    spawn: Spawn,
    session: aiohttp.ClientSession,
    payments_database: Database,
    payments_url: str,
    broker: Broker,
    broker_url: str,
    amount: int,
) -> None:
    await opened(payments_database, "ann", 100)
    bad, good = order_created_with(amount), order_created(uuid4(), "ann", 10)
    await broker.publish(bad, good)
    replica = await spawn("payments", DATABASE_URL=payments_url, BROKER_URL=broker_url)
    letter = await broker.take(ORDER_CREATED.dead)
    assert json.loads(letter.body) == [json.loads(bad.event)]
    assert "amount" in str(letter.headers["x-reason"])

    later = order_created(uuid4(), "ann", 10)
    await broker.publish(later)
    expected = [json.loads(event.event)["subject"] for event in (good, later)]
    assert await all_results(broker, 2) == expected
    assert (await audit(payments_database))["ann"] == 80
    assert replica.running
    assert await replica.metric(session, "gozon_dead_letters_total") == 1
