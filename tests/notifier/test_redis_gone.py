"""Redis goes and comes back, with its data or without, or cannot be heard while no connection closes.

Each test has two replicas and a socket of every user on both, while events keep coming.
"""

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import chain, cycle
from pathlib import Path
from string import Template
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from websockets.exceptions import ConnectionClosed

from shopkit.broker import ORDER_STATUS
from shopkit.retry import pause
from tests.conftest import Spawn
from tests.notifier.push_events import ORIGIN, on, status_event, tell
from tests.servers import Broker, Forwarder, running, succeeds
from tests.support import ROOT, Caller, Replica, Socket, eventually, free_port

USERS = 3
TELL_SECONDS = 0.2
RED_SECONDS = 10
HEALING = 40


class OwnRedis:
    """A Redis of one test, with the options of the shop's; whatever it had taken outlives its process."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._data = home / "data"
        self._config = home / "redis.conf"
        options = Template((ROOT / "deploy/local/redis.conf").read_text())
        self._config.write_text(options.substitute(port=self.port, dir=self._data))
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

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            await self._process.wait()
            self._process = None


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncGenerator[OwnRedis]:
    own = OwnRedis(tmp_path)
    await own.start()
    yield own
    await own.end()


class Watched:
    """A socket that is read all the time."""

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
        """Those that came after the first."""
        return [frame for frame in self._socket.given if frame["type"] == "welcome"]

    @property
    def shown(self) -> list[dict[str, Any]]:
        """Every order frame that it was given, live or as missed."""
        frames = (frame["missed"] if frame["type"] == "welcome" else [frame] for frame in self._socket.given)
        return list(chain.from_iterable(frames))

    def shown_ids(self) -> set[str]:
        return {frame["id"] for frame in self.shown}

    def shown_twice(self) -> list[Any]:
        events = Counter(frame["id"] for frame in self.shown)
        versions = Counter((frame["order"]["id"], frame["order"]["version"]) for frame in self.shown)
        return [what for what, count in (events + versions).items() if count > 1]

    def missing(self, told: Sequence[tuple[str, str]]) -> set[str]:
        return {event_id for user_id, event_id in told if user_id == self.user_id} - self.shown_ids()

    async def comes_back_and_is_shown(
        self, replica: Replica, told: Sequence[tuple[str, str]], session: aiohttp.ClientSession
    ) -> None:
        """Opens the next socket where this one stopped."""
        query = f"?e={self._socket.welcome['epoch']}&o={self.shown[-1]['o']}"
        caller = on(replica, session, self.user_id)
        missing = self.missing(told)
        assert missing

        async def all_is_there() -> bool:
            socket = await caller.socket(query=query, origin=ORIGIN)
            await socket.close()
            given = [frame["id"] for frame in socket.welcome["missed"]]
            assert len(given) == len(set(given))
            return socket.welcome["recovered"] and missing == set(given)

        await eventually(all_is_there, HEALING)


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
    """Users with a socket on every replica, who are told something all the time."""

    def __init__(self, broker: Broker, sockets: Sequence[Watched]) -> None:
        self.sockets = sockets
        self.told: list[tuple[str, str]] = []
        self._users = sorted({socket.user_id for socket in sockets})
        self._broker = broker
        self._enough = asyncio.Event()

    async def run(self) -> None:
        for user_id in cycle(self._users):
            await self._tell(user_id)
            await pause(self._enough, TELL_SECONDS)
            if self._enough.is_set():
                return

    def stop(self) -> None:
        self._enough.set()

    async def tell_each(self) -> list[tuple[str, str]]:
        return [await self._tell(user_id) for user_id in self._users]

    async def _tell(self, user_id: str) -> tuple[str, str]:
        event = status_event(user_id)
        self.told.append((user_id, str(event.id)))
        await tell(self._broker, [event])
        return self.told[-1]

    def on(self, replica: Replica) -> list[Watched]:
        return [socket for socket in self.sockets if socket.replica == replica.name]

    async def is_shown_everything(self, sockets: Sequence[Watched] | None = None) -> None:
        """Waits until all sockets, or these, were given everything that is for them."""

        async def nothing_is_missing() -> bool:
            return not any(socket.missing(self.told) for socket in sockets or self.sockets)

        await eventually(nothing_is_missing, HEALING)

    def is_well(self) -> None:
        """Every socket is open, and was never shown anything twice."""
        for socket in self.sockets:
            assert not socket.closed, f"closed with {socket.code}"
            assert socket.shown_twice() == []


Enter = Callable[[Sequence[Replica]], Awaitable[Crowd]]


@pytest.fixture
async def enter(session: aiohttp.ClientSession, broker: Broker) -> AsyncGenerator[Enter]:
    """`await enter(replicas)` is a crowd that is being told, and was shown something already."""
    async with AsyncExitStack() as leaving:

        async def crowd_at(replicas: Sequence[Replica]) -> Crowd:
            callers = [on(replicas[0], session) for _ in range(USERS)]
            sockets = [
                await leaving.enter_async_context(watched(await caller.socket(replica.url, origin=ORIGIN), caller))
                for replica in replicas
                for caller in callers
            ]
            crowd = Crowd(broker, sockets)
            await leaving.enter_async_context(running(crowd))

            async def all_are_shown_something() -> bool:
                return all(socket.shown for socket in sockets)

            await eventually(all_are_shown_something)
            return crowd

        yield crowd_at


Replicas = Callable[..., Awaitable[list[Replica]]]


@pytest.fixture
def at(spawn: Spawn, broker_url: str) -> Replicas:
    """`await at(url, url)` starts a replica for each address of Redis."""

    async def start(*urls: str) -> list[Replica]:
        return list(
            await asyncio.gather(
                *(spawn("notifier", BROKER_URL=broker_url, REDIS_URL=url, ALLOWED_ORIGINS=ORIGIN) for url in urls)
            )
        )

    return start


async def turn_red(session: aiohttp.ClientSession, *replicas: Replica, part: str = "redis") -> None:
    async def all_are_red() -> bool:
        answers = await asyncio.gather(*(replica.readiness(session) for replica in replicas))
        return all(status == 503 and body["parts"][part] != "ok" for status, body in answers)

    await eventually(all_are_red, RED_SECONDS)


async def all_is_well_again(crowd: Crowd, session: aiohttp.ClientSession, replicas: Sequence[Replica]) -> None:
    """Green, and what is told from now on arrives, as do all things that were told before."""
    for replica in replicas:
        await replica.ready(session)
    await crowd.tell_each()
    crowd.stop()
    await crowd.is_shown_everything()
    crowd.is_well()
    for replica in replicas:
        assert await replica.metric(session, "gozon_dead_letters_total") == 0


@pytest.mark.parametrize(
    ("away", "how"), [(0.2, signal.SIGKILL), (5, signal.SIGKILL), (30, signal.SIGTERM)], ids=str
)
async def test_redis_comes_back_with_its_data_and_nothing_is_lost_or_shown_twice(
    own_redis: OwnRedis,
    at: Replicas,
    enter: Enter,
    session: aiohttp.ClientSession,
    away: float,
    how: signal.Signals,
) -> None:
    replicas = await at(own_redis.url, own_redis.url)
    crowd = await enter(replicas)
    await own_redis.end(how)
    async with lasting(away):
        await crowd.tell_each()
        if away > 1:
            await turn_red(session, *replicas)
    await own_redis.start()
    await all_is_well_again(crowd, session, replicas)
    assert not any(socket.welcomes for socket in crowd.sockets), "nothing had to be reloaded"


@pytest.mark.parametrize("away", [0.2, 5])
async def test_redis_comes_back_empty_and_every_open_socket_is_told_to_reload(
    own_redis: OwnRedis, at: Replicas, enter: Enter, session: aiohttp.ClientSession, away: float
) -> None:
    replicas = await at(own_redis.url, own_redis.url)
    crowd = await enter(replicas)
    await own_redis.end()
    # Redis may have taken with it what it had and had not passed on; of that the pages learn over REST.
    crowd.told.clear()
    async with lasting(away):
        await crowd.tell_each()
        if away > 1:
            await turn_red(session, *replicas)
    await own_redis.start(empty=True)
    await all_is_well_again(crowd, session, replicas)
    for socket in crowd.sockets:
        assert [welcome["recovered"] for welcome in socket.welcomes] == [False]


async def test_what_redis_could_not_take_lies_in_rabbitmq_when_the_replicas_end(
    own_redis: OwnRedis, at: Replicas, enter: Enter, session: aiohttp.ClientSession, broker: Broker
) -> None:
    replicas = await at(own_redis.url, own_redis.url)
    crowd = await enter(replicas)
    await own_redis.end()
    crowd.stop()
    kept = len(await crowd.tell_each())

    async def one_has_tried() -> bool:
        line = 'gozon_handler_failures_total{stage="notifier.order-status"}'
        return any([await replica.metric(session, line) for replica in replicas])

    await eventually(one_has_tried)
    for replica in replicas:
        await replica.stop()
    assert await broker.left_in(ORDER_STATUS.name) >= kept

    await own_redis.start()
    (replica,) = await at(own_redis.url)
    for socket in crowd.sockets:
        await socket.comes_back_and_is_shown(replica, crowd.told, session)


@pytest.mark.parametrize("forget", [False, True], ids=["its connections live on", "its connections are forgotten"])
async def test_a_replica_that_redis_is_silent_to_catches_up_while_another_works(
    own_redis: OwnRedis,
    at: Replicas,
    enter: Enter,
    way_to: Callable[[str], Forwarder],
    session: aiohttp.ClientSession,
    forget: bool,
) -> None:
    way = way_to(own_redis.url)
    await way.open()
    deaf, well = await at(way.url, own_redis.url)
    crowd = await enter([deaf, well])

    way.hold()
    await turn_red(session, deaf)
    if forget:  # in the middle of the next subscription, as the last was given up
        await turn_red(session, deaf, part="subscription")
    await hears_nothing(crowd, deaf, well)
    assert (await well.readiness(session))[0] == 200

    way.resume(forget=forget)
    await all_is_well_again(crowd, session, [deaf, well])
    assert not any(socket.welcomes for socket in crowd.sockets)


async def test_a_subscription_that_went_silent_alone_is_noticed_and_made_up_for(
    own_redis: OwnRedis,
    at: Replicas,
    enter: Enter,
    way_to: Callable[[str], Forwarder],
    session: aiohttp.ClientSession,
) -> None:
    way = way_to(own_redis.url)
    await way.open()
    deaf, well = await at(way.url, own_redis.url)
    crowd = await enter([deaf, well])

    way.hold(subscriptions_only=True)
    await turn_red(session, deaf, part="subscription")
    await hears_nothing(crowd, deaf, well)
    assert (await well.readiness(session))[0] == 200

    # No later message shows that there were others before: what was missed is read without being asked for.
    crowd.stop()
    await crowd.is_shown_everything(crowd.on(well))
    await hears_nothing(crowd, deaf, well)
    way.resume()
    await crowd.is_shown_everything()
    await all_is_well_again(crowd, session, [deaf, well])
    assert not any(socket.welcomes for socket in crowd.sockets)


async def hears_nothing(crowd: Crowd, deaf: Replica, well: Replica) -> None:
    """Waits until each socket of the other replica was shown something that its twin here was not."""

    async def each_is_behind_its_twin() -> bool:
        twins = zip(crowd.on(deaf), crowd.on(well), strict=True)
        return all(theirs.shown_ids() - ours.shown_ids() for ours, theirs in twins)

    await eventually(each_is_behind_its_twin)


@asynccontextmanager
async def lasting(seconds: float) -> AsyncGenerator[None]:
    """Takes that long, whatever happens in it."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    yield
    await asyncio.sleep(end - loop.time())
