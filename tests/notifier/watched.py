"""A Redis server for one test, and users with sockets on every replica who receive events all the time."""

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain, cycle
from pathlib import Path
from string import Template
from typing import Any

import aiohttp
from redis.asyncio import Redis
from websockets.exceptions import ConnectionClosed

from shopkit.runtime.retry import pause
from tests.notifier.push_events import ORIGIN, on, publish, status_event
from tests.servers import Broker, succeeds
from tests.support import ROOT, Caller, Replica, Socket, eventually, free_port

USERS = 3
EVENT_PAUSE_SECONDS = 0.2
NOT_READY_SECONDS = 10
RECOVERY_SECONDS = 40
PASSWORD = "of-this-test"


class OwnRedis:
    """A Redis server for one test, with the options of the shop and `more`. Its data survives a restart."""

    def __init__(self, home: Path, more: str = "") -> None:
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        home.mkdir(exist_ok=True)
        self._data = home / "data"
        self._config = home / "redis.conf"
        options = Template((ROOT / "deploy/local/redis.conf").read_text() + "masterauth $password\n" + more)
        self._config.write_text(options.substitute(port=self.port, dir=self._data, password=PASSWORD))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, empty: bool = False) -> None:
        if empty:
            shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            "redis-server", self._config, stdout=asyncio.subprocess.DEVNULL
        )

        async def answers() -> None:
            async with Redis.from_url(self.url, protocol=2) as redis:
                await redis.ping()

        await succeeds(answers)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            await self._process.wait()
            self._process = None


class Watched:
    """A socket whose frames are read continuously and recorded."""

    def __init__(self, socket: Socket, caller: Caller, reading: asyncio.Task[None]) -> None:
        assert socket.welcome["missed"] == []
        self.user_id = caller.user_id
        self.replica = socket.replica
        self._socket = socket
        self._reading = reading

    @property
    def closed(self) -> bool:
        return self._reading.done()

    @property
    def code(self) -> int | None:
        return self._socket.connection.close_code

    @property
    def welcomes(self) -> list[dict[str, Any]]:
        """Returns the welcomes after the first one."""
        return [frame for frame in self._socket.given if frame["type"] == "welcome"]

    @property
    def shown(self) -> list[dict[str, Any]]:
        """Returns all order frames that the socket received, live or in a welcome."""
        frames = (frame["missed"] if frame["type"] == "welcome" else [frame] for frame in self._socket.given)
        return list(chain.from_iterable(frames))

    def shown_ids(self) -> set[str]:
        return {frame["id"] for frame in self.shown}

    def shown_twice(self) -> list[Any]:
        events = Counter(frame["id"] for frame in self.shown)
        versions = Counter((frame["order"]["id"], frame["order"]["version"]) for frame in self.shown)
        return [what for what, count in (events + versions).items() if count > 1]

    def missing(self, published: Sequence[tuple[str, str]]) -> set[str]:
        return {event_id for user_id, event_id in published if user_id == self.user_id} - self.shown_ids()

    async def assert_reconnecting_shows_the_missing(
        self, replica: Replica, published: Sequence[tuple[str, str]], session: aiohttp.ClientSession
    ) -> None:
        """Reconnects from the position of this socket until the welcome holds all missing events."""
        query = f"?e={self._socket.welcome['epoch']}&o={self.shown[-1]['o']}"
        caller = on(replica, session, self.user_id)
        missing = self.missing(published)
        assert missing

        async def all_is_there() -> bool:
            socket = await caller.socket(query=query, origin=ORIGIN)
            await socket.close()
            given = [frame["id"] for frame in socket.welcome["missed"]]
            assert len(given) == len(set(given))
            return socket.welcome["recovered"] and missing == set(given)

        await eventually(all_is_there, RECOVERY_SECONDS)


@asynccontextmanager
async def watched(socket: Socket, caller: Caller) -> AsyncGenerator[Watched]:
    async def read() -> None:
        while True:
            await socket.next_order(600)

    reading = asyncio.create_task(read())
    yield Watched(socket, caller, reading)
    reading.cancel()
    with suppress(asyncio.CancelledError, ConnectionClosed):
        await reading


class Crowd:
    """Users with a socket on every replica. Events are published to them in turn until `stop`."""

    def __init__(self, broker: Broker, sockets: Sequence[Watched]) -> None:
        self.sockets = sockets
        self.published: list[tuple[str, str]] = []
        self._users = sorted({socket.user_id for socket in sockets})
        self._broker = broker
        self._enough = asyncio.Event()

    async def run(self) -> None:
        for user_id in cycle(self._users):
            await self._publish(user_id)
            await pause(self._enough, EVENT_PAUSE_SECONDS)
            if self._enough.is_set():
                return

    def stop(self) -> None:
        self._enough.set()

    async def publish_for_each(self) -> list[tuple[str, str]]:
        return [await self._publish(user_id) for user_id in self._users]

    async def _publish(self, user_id: str) -> tuple[str, str]:
        event = status_event(user_id)
        self.published.append((user_id, str(event.id)))
        await publish(self._broker, [event])
        return self.published[-1]

    def on(self, replica: Replica) -> list[Watched]:
        return [socket for socket in self.sockets if socket.replica == replica.name]

    async def wait_until_all_shown(self, sockets: Sequence[Watched] | None = None) -> None:
        """Waits until these sockets, or all, have received every event of their users."""

        async def nothing_is_missing() -> bool:
            return not any(socket.missing(self.published) for socket in sockets or self.sockets)

        await eventually(nothing_is_missing, RECOVERY_SECONDS)

    def assert_open_and_no_duplicates(self) -> None:
        """Asserts that every socket is open and has received no event or order version twice."""
        for socket in self.sockets:
            assert not socket.closed, f"closed with {socket.code}"
            assert socket.shown_twice() == []


OpenCrowd = Callable[[Sequence[Replica]], Awaitable[Crowd]]
StartReplicas = Callable[..., Awaitable[list[Replica]]]


async def wait_until_not_ready(session: aiohttp.ClientSession, *replicas: Replica, part: str = "redis") -> None:
    async def all_are_red() -> bool:
        answers = await asyncio.gather(*(replica.readiness(session) for replica in replicas))
        return all(status == 503 and body["parts"][part] != "ok" for status, body in answers)

    await eventually(all_are_red, NOT_READY_SECONDS)


async def assert_recovered(crowd: Crowd, session: aiohttp.ClientSession, replicas: Sequence[Replica]) -> None:
    """Waits until the replicas are ready and every event has arrived. Asserts that none was dead-lettered."""
    for replica in replicas:
        await replica.ready(session)
    await crowd.publish_for_each()
    crowd.stop()
    await crowd.wait_until_all_shown()
    crowd.assert_open_and_no_duplicates()
    for replica in replicas:
        assert await replica.metric(session, "gozon_dead_letters_total") == 0
