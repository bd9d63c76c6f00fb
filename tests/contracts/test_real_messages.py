"""The events and frames of a running shop agree with docs/asyncapi.yaml and have no undocumented field."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import aiohttp
import pytest
from aio_pika.abc import AbstractIncomingMessage

from gozon.topology import ORDER_CREATED
from shopkit.messaging.publisher import persistent
from shopkit.messaging.topology import ISOLATED_CRASH_LIMIT, RESOLVED
from tests.conftest import Shop, Spawn
from tests.contracts import asyncapi
from tests.contracts.conftest import Overheard, overhearing
from tests.operating import dead_letters
from tests.servers import Broker
from tests.support import PATIENCE, Caller, Socket, eventually

DOCUMENT = asyncapi.document()
MESSAGES = DOCUMENT["components"]["messages"]
EVENTS_OF = {
    channel["address"]: {message["name"]: message for message in channel["messages"].values()}
    for channel in DOCUMENT["channels"].values()
}
PUSHED = {message["name"]: message for message in asyncapi.messages_of(DOCUMENT["operations"]["notifierPushes"])}


@pytest.fixture
async def overheard(servers: dict[str, Any], session: aiohttp.ClientSession) -> AsyncGenerator[Overheard]:
    async with overhearing(servers["broker"], servers, session) as overheard:
        yield overheard


def properties(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Returns the AMQP properties that are set, except for the headers. Times are Unix timestamps, as in AMQP."""
    names = set(message.properties.__slots__) - {"headers"}
    values = {name: value for name in names if (value := getattr(message.properties, name)) not in (None, "")}
    return {name: value.timestamp() if isinstance(value, datetime) else value for name, value in values.items()}


def check(described: Any, body: bytes, properties: dict[str, Any], headers: dict[str, Any]) -> None:
    asyncapi.must_be(described["bindings"]["amqp"]["x-properties"], properties)
    asyncapi.must_be(described["headers"], headers)
    if "payload" in described:
        asyncapi.must_be(described["payload"], json.loads(body))


def check_taken(message: AbstractIncomingMessage, described: Any) -> None:
    check(described, message.body, properties(message), dict(message.headers))


async def test_published_events_match_the_document(
    overheard: Overheard, caller: Caller, session: aiohttp.ClientSession
) -> None:
    await caller.open_account(1_000)
    stranger = Caller(session, caller.url)
    orders = {await caller.order(400), await caller.order(5_000), await stranger.order(1)}
    events: list[dict[str, Any]] = []

    async def all_published() -> bool:
        while message := await overheard.next():
            batch = json.loads(message.body)
            headers = message.properties.pop("headers")
            check(EVENTS_OF[message.queue][batch[0]["type"]], message.body, message.properties, headers)
            events.extend(batch)
        return len(ours()) >= 3 * len(orders)

    def ours() -> list[dict[str, Any]]:
        return [event for event in events if event["subject"] in orders]

    await eventually(all_published)
    assert {(event["source"], event["type"]) for event in ours()} == {
        (operation["tags"][0]["name"], message["name"])
        for operation in map(
            DOCUMENT["operations"].get, ("ordersSendsCreated", "ordersSendsStatus", "paymentsSends")
        )
        for message in asyncapi.messages_of(operation)
    }
    reasons = {event["data"]["reason"] for event in ours() if "reason" in event["data"]}
    assert reasons == set(DOCUMENT["components"]["schemas"]["Reason"]["enum"])
    assert all(event["traceparent"] and event["journey"] for event in ours())


class Listener:
    """A WebSocket client that sends the documented frames and validates every frame that it receives."""

    def __init__(self, caller: Caller, socket: Socket) -> None:
        self._caller = caller
        self._socket = socket
        self.heard: list[dict[str, Any]] = []
        self._take(socket.welcome)

    async def hear(self, *kinds: str) -> dict[str, Any]:
        """Receives frames until there was one of each of `kinds`. Returns the last frame."""
        awaited = set(kinds)
        async with asyncio.timeout(PATIENCE):
            while awaited:
                frame = json.loads(await self._socket.connection.recv())
                self._take(frame)
                await self._answer(frame)
                awaited.discard(frame["type"])
        return self.heard[-1]

    def _take(self, frame: dict[str, Any]) -> None:
        asyncapi.must_be(PUSHED[frame["type"]]["payload"], frame)
        self.heard.append(frame)

    async def _answer(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "ping":
                await self._say("pong", {"type": "pong"})
            case "order":
                await self._say("ack", {"type": "ack", "o": frame["o"]})
            case _:
                await self._say("renewTicket", {"type": "renew", "ticket": await self._caller.ticket()})

    async def _say(self, message: str, frame: dict[str, Any]) -> None:
        asyncapi.must_be(MESSAGES[message]["payload"], frame)
        await self._socket.connection.send(json.dumps(frame))


async def test_pushed_frames_match_the_document(
    shop: Shop, servers: dict[str, Any], spawn: Spawn, caller: Caller
) -> None:
    # One more replica of this shop. It sends ping and renew more often than every 25 seconds and every hour.
    often = {"PING_SECONDS": "0.5", "IDENTITY_SECONDS": "4"}
    where = {"BROKER_URL": servers["broker"], "REDIS_URL": servers["redis"], "ALLOWED_ORIGINS": shop.url}
    replica = await spawn("notifier", **where, **often)
    listener = Listener(caller, await caller.socket(replica.url))
    await caller.open_account(1_000)
    await caller.order(400)
    await listener.hear("order", "ping", "renew")
    await caller.order(5_000)
    cancelled = await listener.hear("order")
    await listener.hear("renew")  # comes only if the response to the first renew was accepted
    assert {frame["type"] for frame in listener.heard} == PUSHED.keys()

    epoch, start = listener.heard[0]["epoch"], listener.heard[0]["offset"]
    at_the_front_door = Listener(caller, await caller.socket(query=f"?e={epoch}&o={start}"))
    missed = at_the_front_door.heard[0]["missed"]
    assert missed == [frame for frame in listener.heard if frame["type"] == "order"]
    assert missed[-1] == cancelled
    await caller.order(1)
    assert (await at_the_front_door.hear("order"))["order"]["status"] == "FINISHED"


async def test_dead_letters_have_the_documented_headers(
    broker: Broker, broker_url: str, payments_url: str, spawn: Spawn
) -> None:
    await spawn("payments", DATABASE_URL=payments_url, BROKER_URL=broker_url)
    for _ in range(2):
        await broker.publish_body("order.created", b"nonsense")

    async def both_are_dead_letters() -> bool:
        return await broker.ready_in(ORDER_CREATED.dead) == 2

    await eventually(both_are_dead_letters)
    check_taken(await broker.take(ORDER_CREATED.dead), MESSAGES["deadLetter"])
    await dead_letters("discard", "--all", "--by", "ann", "--broker", broker_url)
    check_taken(await broker.take(RESOLVED), MESSAGES["resolvedLetter"])


async def test_a_dead_letter_made_by_the_broker_has_the_documented_headers(broker: Broker) -> None:
    queue = await broker.channel.get_queue(ORDER_CREATED.quarantine)
    await broker.channel.default_exchange.publish(persistent(b"[]"), queue.name)
    for _ in range(ISOLATED_CRASH_LIMIT):
        await (await queue.get()).reject(requeue=True)
    check_taken(await broker.take(ORDER_CREATED.dead), MESSAGES["deadLetter"])
