import asyncio
import hashlib
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import aio_pika
import aiohttp
import msgspec
import pytest

from gozon.topology import ORDER_CREATED, ORDER_STATUS, PAYMENT_RESULTS, TOPOLOGY
from shopkit.dead_letters import broker as broker_letters
from shopkit.messaging.broker import BrokerUnavailable
from shopkit.messaging.events import encode_batch, outgoing
from shopkit.messaging.publisher import Publisher
from shopkit.messaging.topology import ISOLATED_CRASH_LIMIT, RESOLVED, Queue
from tests.operating import Outcome, dead_letters, dead_letters_process
from tests.servers import Broker
from tests.shopkit.flawed import FLAWED
from tests.support import eventually, free_port


class Parcel(msgspec.Struct):
    n: int


def event(kind: str = "parcel.sent", subject: UUID | None = None) -> bytes:
    return outgoing("tests", kind, subject or uuid4(), Parcel(1)).event


class Operator:
    """Makes dead letters in one virtual host, and runs the command `dead-letters` there."""

    def __init__(self, broker: Broker, url: str, publisher: Publisher) -> None:
        self.broker = broker
        self.url = url
        self._publisher = publisher

    async def dead_letter(self, queue: Queue, *events: bytes, reason: str = "ValueError('odd')") -> bytes:
        body = encode_batch(events)
        await self._publisher.dead_letter(queue, body, reason)
        return body

    async def publish(self, queue: str, body: bytes, **properties: Any) -> None:
        await self.broker.channel.default_exchange.publish(aio_pika.Message(body, **properties), queue)

    async def run(self, *words: str) -> Outcome:
        return await dead_letters(*words, "--broker", self.url)

    async def list(self, *words: str) -> list[dict[str, Any]]:
        return (await self.run("list", "--json", *words)).letters()

    async def only_id(self) -> str:
        (letter,) = await self.list()
        return letter["id"]

    async def expect_messages(self, **expected: int) -> None:
        """Fails unless the queues have these numbers of messages, and all other queues are empty."""
        counts = {name: await self.broker.ready_in(name) for name in QUEUES}
        assert {name: count for name, count in counts.items() if count} == expected


QUEUES = [name for queue in TOPOLOGY for name in (queue.name, queue.quarantine, queue.dead)]
BY = ("--by", "ann", "--note", "fixed")


@pytest.fixture
def operator(broker: Broker, broker_url: str, publisher: Publisher) -> Operator:
    return Operator(broker, broker_url, publisher)


async def test_listing_leaves_letters_in_their_queue_and_order(operator: Operator) -> None:
    subjects = [uuid4(), uuid4(), uuid4()]
    first = await operator.dead_letter(ORDER_CREATED, event(subject=subjects[0]), event("parcel.lost", subjects[1]))
    second = await operator.dead_letter(ORDER_CREATED, event(subject=subjects[2]), reason="x" * 300)
    for _ in range(3):
        outcome = await operator.run("list")
        heading, first_line, second_line = outcome.output.splitlines()
        assert heading.split() == ["ID", "WHEN", "EVENTS", "TYPE", "SUBJECT", "REASON"]
        assert first_line.startswith("payments.order-created/")
        assert f"2       parcel.sent +1  {subjects[0]} +1  ValueError('odd')" in first_line
        assert str(subjects[2]) in second_line
        assert second_line.endswith("xxx...")
    await operator.expect_messages(**{ORDER_CREATED.dead: 2})
    assert [(await operator.broker.take(ORDER_CREATED.dead)).body for _ in range(2)] == [first, second]


async def test_a_letter_of_a_consumer_has_time_and_reason(operator: Operator) -> None:
    subject = uuid4()
    encoded = event("parcel.lost", subject)
    await operator.dead_letter(PAYMENT_RESULTS, encoded)
    (letter,) = await operator.list()
    written = json.loads(encoded)
    assert letter["queue"] == PAYMENT_RESULTS.name
    assert letter["reason"] == "ValueError('odd')"
    assert abs(datetime.fromisoformat(letter["when"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert letter["events"] == [{name: written[name] for name in ("id", "type", "subject", "time")}]


async def test_a_letter_with_invalid_properties_is_listed_and_replayed(operator: Operator) -> None:
    body = encode_batch([event("parcel.lost")])
    underlay = await operator.broker.channel.get_underlay_channel()
    await underlay.basic_publish(body, routing_key=ORDER_CREATED.dead, properties=FLAWED["timestamp"])
    (letter,) = await operator.list()
    assert (letter["events"][0]["type"], letter["when"]) == ("parcel.lost", None)
    assert "year" in letter["reason"]
    assert (await operator.run("replay", "--all", *BY)).status == 0
    assert (await operator.broker.take(ORDER_CREATED.name)).body == body


async def test_a_letter_of_the_delivery_limit_has_time_and_reason(operator: Operator) -> None:
    await operator.publish(ORDER_CREATED.quarantine, encode_batch([event()]), message_id="crashes")
    queue = await operator.broker.channel.get_queue(ORDER_CREATED.quarantine)
    for _ in range(ISOLATED_CRASH_LIMIT):
        message = await queue.get()
        assert message is not None
        await message.nack(requeue=True)

    async def dead_lettered() -> bool:
        return await operator.broker.ready_in(ORDER_CREATED.dead) == 1

    await eventually(dead_lettered)
    (letter,) = await operator.list()
    assert letter["id"] == "payments.order-created/crashes"
    assert letter["reason"] == "delivery_limit in payments.order-created.alone"
    assert abs(datetime.fromisoformat(letter["when"]) - datetime.now(UTC)) < timedelta(minutes=1)


async def test_only_id_of_a_letter_without_message_id_is_a_hash_of_its_body(
    operator: Operator, servers: dict[str, Any], session: aiohttp.ClientSession
) -> None:
    # aio-pika sets an id on every message. The management API does not.
    management = urlsplit(str(servers["broker_management"]))
    address = f"{management.scheme}://{management.netloc.rpartition('@')[2]}"
    message = {"routing_key": ORDER_CREATED.dead, "payload": "[]", "payload_encoding": "string"}
    async with session.post(
        f"{address}/api/exchanges/{urlsplit(operator.url).path[1:]}/amq.default/publish",
        json=message | {"properties": dict[str, str]()},
        headers={"Authorization": aiohttp.encode_basic_auth(management.username or "", management.password or "")},
    ) as response:
        assert (await response.json())["routed"]
    letter_id = await operator.only_id()
    assert letter_id == f"payments.order-created/{hashlib.sha256(b'[]').hexdigest()[:16]}"
    assert (await operator.run("discard", letter_id, *BY)).status == 0
    assert [letter["id"] for letter in await operator.list("--resolved")] == [letter_id]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], "abc"),
        (["--queue", ORDER_STATUS.name], "c"),
        (["--queue", "payments"], ""),
        (["--type", "parcel.lost"], "bc"),
        (["--subject", str(UUID(int=1))], "ab"),
        (["--reason", "too heavy"], "a"),
        (["--reason", "heavy", "--type", "parcel.lost"], "b"),
        (["--older-than", "1h"], "c"),
        (["--newer-than", "1h"], "ab"),
        (["--older-than", "1d", "--newer-than", "3d"], "c"),
        (["--limit", "2"], "ab"),
    ],
    ids=" ".join,
)
async def test_filters_select_letters(operator: Operator, words: list[str], found: str) -> None:
    one, two = UUID(int=1), UUID(int=2)
    a = await operator.dead_letter(ORDER_CREATED, event("parcel.sent", one), reason="too heavy")
    b = await operator.dead_letter(
        ORDER_CREATED, event("parcel.sent", two), event("parcel.lost", one), reason="heavy"
    )
    c = encode_batch([event("parcel.lost", two)])
    await operator.publish(ORDER_STATUS.dead, c, timestamp=datetime.now(UTC) - timedelta(days=2))
    bodies = dict(zip("abc", (a, b, c), strict=True))
    ids = {name: {json.loads(body)[0]["id"]} for name, body in bodies.items()}
    listed = await operator.list(*words)
    assert [{letter["events"][0]["id"]} for letter in listed] == [ids[name] for name in found]


async def test_a_letter_is_selected_by_only_id_of_any_of_its_events(operator: Operator) -> None:
    wanted = event()
    await operator.dead_letter(ORDER_CREATED, event(), wanted)
    await operator.dead_letter(ORDER_CREATED, event())
    (letter,) = await operator.list("--event", json.loads(wanted)["id"])
    assert len(letter["events"]) == 2


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"[]", "[]"),
        (b'[{"id":"7","type":"parcel.sent"}]', '"type": "parcel.sent"'),
        (b"neither JSON nor anything", "neither JSON nor anything"),
        (b"\x1b[2Jgone", r"'\x1b[2Jgone'"),
        (b"\xff\xfe", "base64: //4="),
        (b'[{"id":"\xff"}]', "base64: W3siaWQiOiL/In1d"),
        (b"[1, null]", "null"),
        (b'[{"id":"%s"}]' % (b"[" * 500), '    "id": "[[[[['),
        (b"[" * 500 + b"]" * 500, "[[[[["),
        (b"[" * 1_000_000 + b"]" * 1_000_000, "[[[[["),
    ],
    ids=[
        "empty",
        "event",
        "text",
        "control-characters",
        "bytes",
        "not-utf-8",
        "no-events",
        "brackets",
        "deep",
        "too-deep",
    ],
)
async def test_any_body_of_a_letter_is_shown(operator: Operator, body: bytes, shown: str) -> None:
    await operator.publish(ORDER_CREATED.dead, body, headers={"x-reason": "odd"}, message_id="m1")
    assert (await operator.run("list")).status == 0
    outcome = await operator.run("show", "payments.order-created/m1")
    assert (outcome.status, outcome.complaints) == (0, "")
    assert "reason: odd\n" in outcome.output
    assert shown in outcome.output


async def test_a_dry_run_prints_the_actions_and_changes_nothing(operator: Operator) -> None:
    await operator.dead_letter(ORDER_CREATED, event())
    letter_id = await operator.only_id()
    for verb, what in (("replay", "replayed"), ("discard", "discarded")):
        outcome = await operator.run(verb, letter_id, *BY, "--dry-run")
        assert outcome.status == 0
        assert outcome.output.startswith(f"would be {what}: {letter_id}")
    await operator.expect_messages(**{ORDER_CREATED.dead: 1})
    assert await operator.broker.ready_in(RESOLVED) == 0


async def test_a_replayed_letter_goes_only_to_the_queue_it_came_from(operator: Operator) -> None:
    body = await operator.dead_letter(PAYMENT_RESULTS, event("order.created"))
    await operator.dead_letter(ORDER_CREATED, event("order.created"))
    (letter,) = await operator.list("--queue", PAYMENT_RESULTS.name)
    outcome = await operator.run("replay", letter["id"], *BY)
    assert (outcome.status, outcome.complaints) == (0, "")
    assert outcome.output.startswith(f"replayed: {letter['id']}")
    await operator.expect_messages(**{PAYMENT_RESULTS.name: 1, ORDER_CREATED.dead: 1})
    message = await operator.broker.take(PAYMENT_RESULTS.name)
    assert message.body == body
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert not message.headers.get("x-reason")


async def test_a_discarded_letter_is_kept_with_its_resolution(operator: Operator) -> None:
    body = await operator.dead_letter(ORDER_STATUS, event())
    (before,) = await operator.list()
    outcome = await operator.run("discard", "--queue", ORDER_STATUS.name, *BY)
    assert outcome.output.startswith(f"discarded: {before['id']}")
    await operator.expect_messages()
    assert await operator.list() == []
    (letter,) = await operator.list("--resolved")
    assert letter["resolution"] == "discarded by ann: fixed"
    assert abs(datetime.fromisoformat(letter["resolved_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert {key: letter[key] for key in ("id", "queue", "reason", "when", "events")} == {
        key: before[key] for key in ("id", "queue", "reason", "when", "events")
    }
    assert "discarded by ann: fixed" in (await operator.run("list", "--resolved")).output
    assert "by ann" in (await operator.run("show", letter["id"])).output
    record = await operator.broker.take(RESOLVED)
    assert record.body == body
    headers = {
        name: record.headers[name] for name in record.headers if name.startswith("x-") and "count" not in name
    }
    del headers["x-resolved-at"]
    assert headers == {
        "x-resolution": "discarded",
        "x-resolved-by": "ann",
        "x-note": "fixed",
        "x-dead-queue": ORDER_STATUS.dead,
        "x-reason": "ValueError('odd')",
    }


async def test_the_record_of_a_replay_names_the_operator(operator: Operator) -> None:
    await operator.dead_letter(ORDER_STATUS, event())
    await operator.run("replay", await operator.only_id(), "--by", "bob")
    (letter,) = await operator.list("--resolved")
    assert letter["resolution"] == "replayed by bob"


async def test_a_letter_stays_if_its_record_is_not_confirmed(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await operator.dead_letter(ORDER_CREATED, event())
    letter_id = await operator.only_id()
    publish = broker_letters.BrokerLetters._publish  # pyright: ignore[reportPrivateUsage]

    async def fail_to_record(self: broker_letters.BrokerLetters, queue: str, message: aio_pika.Message) -> None:
        if queue == RESOLVED:
            raise BrokerUnavailable("connection lost")
        await publish(self, queue, message)

    monkeypatch.setattr(broker_letters.BrokerLetters, "_publish", fail_to_record)
    outcome = await operator.run("replay", letter_id, *BY)
    assert outcome.status == 1
    assert "connection lost" in outcome.complaints
    await operator.expect_messages(**{ORDER_CREATED.name: 1, ORDER_CREATED.dead: 1})


async def test_rate_limits_letters_per_second(operator: Operator) -> None:
    for _ in range(4):
        await operator.dead_letter(ORDER_CREATED, event())
    started = time.monotonic()
    assert (await operator.run("replay", "--all", *BY, "--rate", "5")).status == 0
    assert time.monotonic() - started >= 3 / 5
    await operator.expect_messages(**{ORDER_CREATED.name: 4})


async def test_limit_limits_the_number_of_letters(operator: Operator) -> None:
    for _ in range(4):
        await operator.dead_letter(ORDER_CREATED, event())
    assert len((await operator.run("discard", "--all", *BY, "--limit", "3")).output.splitlines()) == 3
    await operator.expect_messages(**{ORDER_CREATED.dead: 1})


@pytest.mark.parametrize("verb", ["replay", "discard"])
async def test_all_letters_are_resolved_only_with_the_option_all(operator: Operator, verb: str) -> None:
    await operator.dead_letter(ORDER_CREATED, event())
    rejected = await operator.run(verb, *BY)
    assert rejected.status == 2
    assert "--all" in rejected.complaints
    await operator.expect_messages(**{ORDER_CREATED.dead: 1})
    assert (await operator.run(verb, *BY, "--all")).status == 0
    assert await operator.list() == []


async def test_an_unknown_id_is_reported_and_the_other_letters_are_resolved(operator: Operator) -> None:
    await operator.dead_letter(ORDER_CREATED, event())
    letter_id = await operator.only_id()
    outcome = await operator.run("replay", "payments.order-created/nothing", letter_id, "payments/7", *BY)
    assert outcome.status == 1
    assert outcome.output.startswith(f"replayed: {letter_id}")
    assert [line.rpartition(" ")[2] for line in outcome.complaints.splitlines()] == [
        "payments.order-created/nothing",
        "payments/7",
    ]
    assert (await operator.run("show", letter_id + "x")).status == 1


async def test_two_concurrent_replays_replay_each_letter_once(operator: Operator) -> None:
    bodies = [await operator.dead_letter(ORDER_CREATED, event()) for _ in range(30)]
    words = ("replay", "--all", "--rate", "40", "--by")
    outcomes = await asyncio.gather(
        *(dead_letters_process(*words, name, BROKER_URL=operator.url) for name in ("ann", "bob"))
    )
    assert [(outcome.status, outcome.complaints) for outcome in outcomes] == [(0, ""), (0, "")]
    await operator.expect_messages(**{ORDER_CREATED.name: 30})
    replayed = [(await operator.broker.take(ORDER_CREATED.name)).body for _ in range(30)]
    assert sorted(replayed) == sorted(bodies)


async def test_a_letter_dead_lettered_again_during_a_replay_is_left_for_the_next_command(
    operator: Operator,
) -> None:
    await operator.dead_letter(ORDER_CREATED, event())
    await operator.dead_letter(ORDER_CREATED, event())

    async def dead_letter_again() -> None:
        message = await operator.broker.take(ORDER_CREATED.name)
        await operator.publish(ORDER_CREATED.dead, message.body)

    replay = operator.run("replay", "--all", *BY, "--rate", "2")
    outcome, _, _ = await asyncio.gather(replay, dead_letter_again(), dead_letter_again())
    assert len(outcome.output.splitlines()) == 2
    await operator.expect_messages(**{ORDER_CREATED.dead: 2})


async def test_the_command_line_lists_and_shows_letters(operator: Operator) -> None:
    await operator.dead_letter(ORDER_CREATED, event())
    letter_id = await operator.only_id()
    outcome = await dead_letters_process("list", BROKER_URL=operator.url)
    assert letter_id in outcome.output
    assert (outcome.status, outcome.complaints) == (0, "")
    shown = await dead_letters_process("show", letter_id, BROKER_URL=operator.url)
    assert '"type": "parcel.sent"' in shown.output
    missing = await dead_letters_process("show", "payments/1", BROKER_URL=operator.url)
    assert (missing.status, missing.output) == (1, "")


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["list"], {}),
        (["list"], {"BROKER_URL": f"amqp://127.0.0.1:{free_port()}/"}),
        (["list", "--broker", "rubbish"], {}),
        (["list"], {"DATABASE_URL": f"postgresql://127.0.0.1:{free_port()}/nothing"}),
        (["list", "--database", "rubbish"], {}),
        (["list", "--older-than", "soon"], {}),
        (["list", "--limit", "0"], {}),
        (["replay", "--all"], {}),
        (["replay", "--all", "--by", "ann", "--rate", "0"], {}),
        (["bury", "payments/1"], {}),
    ],
    ids=str,
)
async def test_invalid_arguments_end_with_status_2_and_an_error_line(
    words: list[str], environment: dict[str, str]
) -> None:
    outcome = await dead_letters_process(*words, **environment)
    assert (outcome.status, outcome.output) == (2, "")
    assert outcome.complaints
    assert "Traceback" not in outcome.complaints
