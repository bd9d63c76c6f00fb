"""Clients connect and leave in many ways. Afterwards the replicas hold no tasks, files or memory for them.

GOZON_CHURN_SECONDS=600 makes it last ten minutes.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from notifier.close_codes import Close
from notifier.streams import channel, sockets_key
from tests.conftest import Spawn
from tests.notifier.push_events import ORIGIN, publish, status_event
from tests.servers import Broker
from tests.support import OPENED, Caller, Replica, eventually

SECONDS = float(os.environ.get("GOZON_CHURN_SECONDS", "20"))
ROUNDS, WARM_AFTER = 4, 2
USERS, CONCURRENT_VISITS = 300, 30
VISIT_SECONDS = 0.0, 0.5
METRICS = {
    "tasks": "gozon_tasks",
    "channels": "gozon_channels",
    "sockets": "gozon_sockets",
    "users": "gozon_users_connected",
    "files": "process_open_fds",
    "memory": "process_resident_memory_bytes",
}
FILES_TOLERANCE, MEMORY_TOLERANCE = 10, 2 * 2**20

pytestmark = pytest.mark.timeout(180 + SECONDS)


@pytest.fixture
async def replicas(spawn: Spawn, servers: dict[str, Any], broker_url: str) -> list[Replica]:
    settings = {"BROKER_URL": broker_url, "REDIS_URL": servers["redis"], "ALLOWED_ORIGINS": ORIGIN}
    return list(await asyncio.gather(spawn("notifier", **settings), spawn("notifier", **settings)))


@pytest.fixture
async def closing_session() -> AsyncGenerator[aiohttp.ClientSession]:
    """A session that keeps no idle connections, which would count as open files of a replica."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        yield session


class Churn:
    """Runs visits. Each visit connects and leaves in one random way, a method below."""

    def __init__(self, callers: Sequence[Caller], replicas: Sequence[Replica], chance: random.Random) -> None:
        self.visits: Counter[str] = Counter()
        self._callers = callers
        self._replicas = replicas
        self._chance = chance
        self._ways = [
            *(self.closes, self.aborts, self.closes_while_joining, self.aborts_while_joining, self.moves),
            *(self.has_a_bad_ticket, self.sends_nonsense, self.has_a_foreign_origin, self.sends_half_a_handshake),
        ]

    async def run(self, until: float) -> None:
        while time.monotonic() < until:
            way = self._chance.choice(self._ways)
            await way(self._chance.choice(self._callers), self._chance.choice(self._replicas).url)
            self.visits[way.__name__] += 1

    async def closes(self, caller: Caller, url: str) -> None:
        socket = await caller.socket(url, origin=ORIGIN)
        await self._pause()
        await socket.close()

    async def aborts(self, caller: Caller, url: str) -> None:
        socket = await caller.socket(url, origin=ORIGIN)
        await self._pause()
        await abort(socket.connection)

    async def closes_while_joining(self, caller: Caller, url: str) -> None:
        await (await caller.connect(url, origin=ORIGIN)).close()

    async def aborts_while_joining(self, caller: Caller, url: str) -> None:
        await abort(await caller.connect(url, origin=ORIGIN))

    async def moves(self, caller: Caller, url: str) -> None:
        """Subscribes and unsubscribes the user's channel on every replica, partly at the same moment."""
        first = await caller.socket(url, origin=ORIGIN)
        query = f"?e={first.welcome['epoch']}&o={first.welcome['offset']}"
        closing = asyncio.create_task(first.close())
        for replica in self._replicas:
            socket = await caller.socket(replica.url, query, ORIGIN)
            await socket.close()
        await closing

    async def has_a_bad_ticket(self, caller: Caller, url: str) -> None:
        connection = await caller.connect(url, origin=ORIGIN, ticket="bad")
        await connection.wait_closed()
        assert connection.close_code == Close.BAD_TICKET

    async def sends_nonsense(self, caller: Caller, url: str) -> None:
        socket = await caller.socket(url, origin=ORIGIN)
        await socket.connection.send("nonsense")
        await socket.connection.wait_closed()
        assert socket.connection.close_code == Close.BAD_MESSAGE

    async def has_a_foreign_origin(self, caller: Caller, url: str) -> None:
        with pytest.raises(InvalidStatus):
            await caller.connect(url, origin="http://evil.test")

    async def sends_half_a_handshake(self, _caller: Caller, url: str) -> None:
        at = urlsplit(url)
        _, writer = await asyncio.open_connection(at.hostname, at.port)
        writer.write(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n")
        await self._pause()
        writer.transport.abort()

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.uniform(*VISIT_SECONDS))


async def abort(connection: ClientConnection) -> None:
    connection.transport.abort()
    await connection.wait_closed()


async def read_metrics(replica: Replica, session: aiohttp.ClientSession) -> dict[str, float]:
    found = {name: await replica.metric(session, line) for name, line in METRICS.items()}
    lines = [f'python_gc_objects_collected_total{{generation="{generation}"}}' for generation in range(3)]
    return found | {"garbage": sum([await replica.metric(session, line) for line in lines])}


async def test_connecting_and_leaving_clients_leak_no_resources(
    replicas: list[Replica], closing_session: aiohttp.ClientSession, broker: Broker, redis: Redis
) -> None:
    seed = random.randrange(2**32)  # noqa: S311
    print(f"seed {seed}")  # pytest shows it when the test fails
    chance = random.Random(seed)  # noqa: S311
    callers = [Caller(closing_session, chance.choice(replicas).url) for _ in range(USERS)]
    churn = Churn(callers, replicas, chance)
    at_first = [await read_metrics(replica, closing_session) for replica in replicas]

    async def run_round() -> list[dict[str, float]]:
        until = time.monotonic() + SECONDS / ROUNDS
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENT_VISITS):
                group.create_task(churn.run(until))
            while time.monotonic() < until:
                await publish(broker, [status_event(caller.user_id) for caller in chance.sample(callers, 10)])
                await asyncio.sleep(0.1)
        OPENED.clear()
        await eventually(all_sockets_are_closed)
        return [await read_metrics(replica, closing_session) for replica in replicas]

    async def all_sockets_are_closed() -> bool:
        now = [await read_metrics(replica, closing_session) for replica in replicas]
        return all(
            (of["sockets"], of["users"], of["channels"]) == (0, 0, 1) and of["tasks"] <= first["tasks"]
            for of, first in zip(now, at_first, strict=True)
        )

    after = [await run_round() for _ in range(ROUNDS)]
    print(f"visits {dict(churn.visits)}")
    for number, of_round in enumerate([at_first, *after]):
        print(f"after round {number}:", *of_round)

    assert len(churn.visits) == 9
    for first, last in zip(at_first, after[-1], strict=True):
        # If sockets left reference cycles, the garbage collector would have freed dozens of objects per visit.
        assert last["garbage"] - first["garbage"] <= churn.visits.total()
    for warm, last in zip(after[WARM_AFTER - 1], after[-1], strict=True):
        assert last["files"] <= warm["files"] + FILES_TOLERANCE
        assert last["memory"] <= warm["memory"] + MEMORY_TOLERANCE

    async def no_presence_is_left() -> bool:
        registered = await redis.exists(*(sockets_key(caller.user_id) for caller in callers))
        subscribed = {
            name for name, count in await redis.pubsub_numsub(*(channel(c.user_id) for c in callers)) if count
        }
        return not registered and not subscribed

    await eventually(no_presence_is_left)
