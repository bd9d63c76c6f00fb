"""No socket receives a message of another user, although many users reconnect to several replicas."""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from tests.conftest import Spawn
from tests.notifier.push_events import ORIGIN, publish, status_event
from tests.servers import Broker
from tests.support import Caller, Replica, Socket, eventually

REPLICAS, USERS, MOST_SOCKETS = 3, 300, 3
RESTLESS = 60
EVENTS, PARTS, AT_ONCE = 3_000, 4, 50
STAY_SECONDS = 0.1, 1.0


@pytest.fixture
async def replicas(spawn: Spawn, servers: dict[str, Any], broker_url: str) -> list[Replica]:
    settings = {"BROKER_URL": broker_url, "REDIS_URL": servers["redis"], "ALLOWED_ORIGINS": ORIGIN}
    return list(await asyncio.gather(*(spawn("notifier", **settings) for _ in range(REPLICAS))))


class Listener:
    """A socket that stays open, and the order frames that it received."""

    def __init__(self, user_id: str, socket: Socket) -> None:
        self.user_id = user_id
        self.frames: list[dict[str, Any]] = []
        self._socket = socket

    async def run(self) -> None:
        while True:
            self.frames.append(await self._socket.next_order(60))


class Restless:
    """A client that reconnects all the time to a random replica, with or without its position."""

    def __init__(self, caller: Caller, replicas: Sequence[Replica], chance: random.Random) -> None:
        self.user_id = caller.user_id
        self.frames: list[dict[str, Any]] = []
        self.visits = 0
        self._caller = caller
        self._replicas = replicas
        self._chance = chance

    async def run(self) -> None:
        query = ""
        while True:
            replica = self._chance.choice(self._replicas)
            socket = await self._caller.socket(replica.url, query, ORIGIN)
            self.visits += 1
            self.frames += socket.welcome["missed"]
            try:
                async with asyncio.timeout(self._chance.uniform(*STAY_SECONDS)):
                    while True:
                        self.frames.append(json.loads(await socket.connection.recv()))
            except TimeoutError:
                await socket.close()
            last = self.frames[-1]["o"] if self.frames else socket.welcome["offset"]
            query = self._chance.choice(["", f"?e={socket.welcome['epoch']}&o={last}"])


async def test_each_socket_receives_every_message_of_its_user_once_and_no_other_message(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    seed = random.randrange(2**32)  # noqa: S311
    print(f"seed {seed}")  # pytest shows it when the test fails
    chance = random.Random(seed)  # noqa: S311
    callers = [Caller(session, replicas[0].url) for _ in range(USERS)]

    async def stay(caller: Caller) -> Listener:
        return Listener(caller.user_id, await caller.socket(chance.choice(replicas).url, origin=ORIGIN))

    staying = [stay(caller) for caller in callers for _ in range(chance.randint(1, MOST_SOCKETS))]
    listeners = await asyncio.gather(*staying)
    restless = [Restless(caller, replicas, chance) for caller in chance.sample(callers, RESTLESS)]
    events = [status_event(chance.choice(callers).user_id) for _ in range(EVENTS)]
    owner = {event.subject: event.data["user_id"] for event in events}
    orders: dict[str, set[str]] = {caller.user_id: set() for caller in callers}
    for order_id, user_id in owner.items():
        orders[user_id].add(order_id)

    async def each_comes_back() -> None:
        before = [client.visits for client in restless]

        async def it_has() -> bool:
            return all(client.visits > visits for client, visits in zip(restless, before, strict=True))

        await eventually(it_has)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run()) for client in [*listeners, *restless]]
        for part in range(0, EVENTS, EVENTS // PARTS):
            await each_comes_back()
            for start in range(part, part + EVENTS // PARTS, AT_ONCE):
                await publish(broker, events[start : start + AT_ONCE])

        async def all_have_theirs() -> bool:
            return all(len(listener.frames) >= len(orders[listener.user_id]) for listener in listeners)

        await eventually(all_have_theirs, 60)
        await each_comes_back()  # meanwhile, surplus messages have time to arrive
        for task in tasks:
            task.cancel()

    for client in [*listeners, *restless]:
        assert {owner[frame["order"]["id"]] for frame in client.frames} <= {client.user_id}
    for listener in listeners:
        assert sorted(frame["order"]["id"] for frame in listener.frames) == sorted(orders[listener.user_id])
        offsets = [frame["o"] for frame in listener.frames]
        assert offsets == sorted(set(offsets))
    assert sum(len(client.frames) for client in restless) > RESTLESS, "the restless clients received almost nothing"
