"""Dead letters in the payments database: the command of shopkit lists, replays and discards them."""

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from gozon.topology import ORDER_CREATED, TOPOLOGY
from orders.messages import order_created
from payments.accounts import NewTopUp, TopUps, open_account
from payments.charge_orders import ChargeOrders
from payments.messages import receive
from shopkit.db.database import Database
from shopkit.dead_letters import database as database_letters
from shopkit.dead_letters.letter import LetterFilter, Resolution
from shopkit.messaging import inbox_store
from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.events import encode_batch
from shopkit.messaging.inbox import Inbox
from shopkit.messaging.publisher import Publisher
from tests.operating import Outcome, dead_letters, dead_letters_process
from tests.payments.audit import audit
from tests.servers import Broker, rows, running, succeeds

BY = ("--by", "ann", "--note", "account mended")
WAITING = "SELECT event_id FROM inbox WHERE processed_at IS NULL"


@pytest.fixture
async def worker(payments_database: Database) -> Inbox:
    await open_account(payments_database, "ann")
    await TopUps(payments_database).top_up([NewTopUp("ann", 500)])
    return inbox_of(payments_database)


def inbox_of(database: Database) -> Inbox:
    return Inbox(database, "payments-1", ChargeOrders("payments-1", lambda: None).charge)


async def park(
    database: Database,
    order_id: UUID | None = None,
    error: str = "ValueError('odd')",
    lonely_crashes: int | None = None,
) -> UUID:
    """Makes a dead letter of an order of ann for 200, after three attempts. Returns the id of its event."""
    event = order_created(order_id or uuid4(), "ann", 200)
    await inbox_of(database).store([receive(event.event)])
    await rows(
        database,
        """
        UPDATE inbox SET attempts = 3, last_error = 'odd', lonely_crashes = :lonely_crashes,
            not_before = now() + interval '1 h', received_at = now() - interval '2 days'
        WHERE event_id = :event_id
        """,
        lonely_crashes=lonely_crashes,
        event_id=event.event_id,
    )
    async with database.begin() as connection:
        await inbox_store.dead_letter(connection, event.event_id, error)
    return event.event_id


def database_name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


async def run(url: str, *words: str) -> Outcome:
    """Runs the dead letter command on the database."""
    return await dead_letters(*words, "--database", url)


async def test_a_database_can_be_given_by_the_name_of_its_service(
    payments_database: Database, payments_url: str
) -> None:
    await park(payments_database)
    outcome = await dead_letters_process(
        "list", "--json", "--database", "payments", PAYMENTS_DATABASE_URL=payments_url
    )
    (letter,) = outcome.letters()
    assert letter["id"] == f"{database_name(payments_url)}/1"


async def test_dead_letters_of_database_and_broker_are_listed_together(
    payments_database: Database, payments_url: str, broker: Broker, broker_url: str
) -> None:
    order_id = uuid4()
    event_id = await park(payments_database, order_id)
    publisher = Publisher(RabbitMQ(broker_url, TOPOLOGY), "test")
    async with running(publisher):
        await succeeds(publisher.check)
        await publisher.dead_letter(ORDER_CREATED, encode_batch([]), "odd")
    both = await dead_letters_process("list", "--json", BROKER_URL=broker_url, DATABASE_URL=payments_url)
    from_broker, parked = both.letters()
    assert (from_broker["queue"], parked["queue"]) == (ORDER_CREATED.name, database_name(payments_url))
    assert parked["reason"] == "ValueError('odd')"
    (event,) = parked["events"]
    assert (event["id"], event["type"], event["subject"]) == (str(event_id), "order.created", str(order_id))
    assert abs(datetime.fromisoformat(parked["when"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert parked["id"] in (await run(payments_url, "list")).output
    shown = (await run(payments_url, "show", parked["id"])).output
    assert "attempts: 3\n" in shown
    assert '"user_id": "ann"' in shown


async def test_more_dead_letters_than_one_page_are_all_listed(
    payments_database: Database, payments_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_letters, "PAGE_SIZE", 2)
    parked = [str(await park(payments_database)) for _ in range(5)]
    letters = (await run(payments_url, "list", "--json")).letters()
    assert [letter["events"][0]["id"] for letter in letters] == parked


@pytest.mark.parametrize("removed_by_retention", [False, True])
async def test_a_replayed_dead_letter_is_charged_once(
    payments_database: Database, payments_url: str, worker: Inbox, removed_by_retention: bool
) -> None:
    event_id = await park(payments_database)
    if removed_by_retention:
        await rows(payments_database, "DELETE FROM inbox")
    assert await worker.process_batch() == 0
    outcome = await run(payments_url, "replay", f"{database_name(payments_url)}/1", *BY)
    assert (outcome.status, outcome.complaints) == (0, "")
    assert outcome.output.startswith(f"replayed: {database_name(payments_url)}/1")
    (row,) = await rows(
        payments_database,
        """
        SELECT event_id, attempts, not_before, last_error, lonely_crashes, type,
            received_at > now() - interval '1 minute' AS waits_since_now FROM inbox
        """,
    )
    assert row == (event_id, 0, None, None, None, "order.created", True)
    assert await worker.process_batch() == 1
    assert await audit(payments_database) == {"ann": 300}

    again = await run(payments_url, "replay", f"{database_name(payments_url)}/1", *BY)
    assert (again.status, again.output) == (1, "")
    assert await worker.process_batch() == 0
    assert await audit(payments_database) == {"ann": 300}


async def test_a_replayed_dead_letter_that_crashed_a_process_is_handled_alone(
    payments_database: Database, payments_url: str, worker: Inbox
) -> None:
    await park(payments_database, lonely_crashes=3)
    assert (await run(payments_url, "replay", f"{database_name(payments_url)}/1", *BY)).status == 0
    assert [row.lonely_crashes for row in await rows(payments_database, "SELECT lonely_crashes FROM inbox")] == [0]
    assert await worker.process_batch() == 0
    assert await worker.process_suspected()
    assert await audit(payments_database) == {"ann": 300}


async def test_a_replayed_event_that_fails_again_becomes_a_new_dead_letter(
    payments_database: Database, payments_url: str, worker: Inbox
) -> None:
    event_id = await park(payments_database)
    assert (await run(payments_url, "replay", "--all", *BY)).status == 0
    async with payments_database.begin() as connection:
        await inbox_store.dead_letter(connection, event_id, "odd again")
    (letter,) = (await run(payments_url, "list", "--json")).letters()
    assert (letter["id"], letter["reason"]) == (f"{database_name(payments_url)}/2", "odd again")
    assert (await run(payments_url, "replay", "--event", str(event_id), *BY)).status == 0
    await worker.process_batch()
    assert await audit(payments_database) == {"ann": 300}


async def test_a_discarded_dead_letter_is_never_charged_and_records_the_operator(
    payments_database: Database, payments_url: str, worker: Inbox
) -> None:
    await park(payments_database)
    assert (await run(payments_url, "discard", "--reason", "odd", *BY)).status == 0
    assert not await rows(payments_database, WAITING)
    assert await worker.process_batch() == 0
    assert await audit(payments_database) == {"ann": 500}
    assert (await run(payments_url, "list", "--json")).letters() == []
    (letter,) = (await run(payments_url, "list", "--json", "--resolved")).letters()
    assert (letter["id"], letter["resolution"]) == (
        f"{database_name(payments_url)}/1",
        "discarded by ann: account mended",
    )
    assert abs(datetime.fromisoformat(letter["resolved_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert "discarded by ann" in (await run(payments_url, "show", f"{database_name(payments_url)}/1")).output


async def test_a_dry_run_changes_nothing(payments_database: Database, payments_url: str) -> None:
    await park(payments_database)
    for verb in ("replay", "discard"):
        outcome = await run(payments_url, verb, "--all", "--dry-run", *BY)
        assert outcome.output.startswith(f"would be {verb}")
    assert not await rows(payments_database, WAITING)
    assert len((await run(payments_url, "list", "--json")).letters()) == 1


@pytest.mark.parametrize("action", ["replayed", "discarded"])
async def test_a_dead_letter_resolved_concurrently_is_resolved_once(
    payments_database: Database, payments_url: str, action: str
) -> None:
    await park(payments_database)
    async with database_letters.opened(payments_url) as letters:
        assert letters is not None
        (letter,) = [letter async for letter in letters.read(LetterFilter(), resolved=False)]
        by = [
            Resolution("replayed" if action == "replayed" else "discarded", name, None) for name in ("ann", "bob")
        ]
        done = await asyncio.gather(*(letters.resolve(letter, resolution) for resolution in by))
    assert sorted(done) == [False, True]
    (row,) = await rows(payments_database, "SELECT resolution FROM dead_letters")
    assert row.resolution == f"{action} by {('ann', 'bob')[done.index(True)]}"


async def test_a_database_without_the_table_is_reported_and_the_broker_is_read(
    orders_url: str, broker: Broker, broker_url: str
) -> None:
    outcome = await dead_letters("list", "--database", orders_url, "--broker", broker_url)
    assert outcome.status == 0
    assert outcome.output.startswith("ID ")
    assert outcome.complaints == "the database has no table dead_letters\n"
