"""Fan-out that waits for Redis replicas. Most tests start with a primary without any."""

import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from redis.asyncio.sentinel import Sentinel as Watching

from notifier.fan_out import FanOut, NotReplicated
from notifier.messages import OrderStatusEvent, decode_order_status
from notifier.sentinel import sentinel_options
from notifier.streams import connect
from tests.notifier.push_events import status_event
from tests.notifier.sentinel import Sentinel
from tests.notifier.watched import OwnRedis
from tests.servers import counted, succeeds
from tests.support import new_user

pytestmark = pytest.mark.processes

Start = Callable[..., Awaitable[OwnRedis]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncGenerator[Start]:
    """`await start("name")` starts a Redis. With `of`, it is a replica of that Redis."""
    async with AsyncExitStack() as stack:

        async def started(name: str, of: OwnRedis | None = None) -> OwnRedis:
            replicating = f"repl-diskless-sync-delay 0\nreplicaof 127.0.0.1 {of.port}\n" if of else ""
            server = OwnRedis(tmp_path / name, replicating)
            await server.start()
            stack.push_async_callback(server.end, signal.SIGKILL)
            return server

        yield started


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Redis]:
    redis = connect(url)
    yield redis
    pool = redis.connection_pool
    await pool.aclose()
    if isinstance(watching := pool.connection_kwargs.get("sentinel"), Watching):
        for sentinel in watching.sentinels:
            await sentinel.aclose()


def an_event() -> OrderStatusEvent:
    return decode_order_status(msgspec.json.encode(status_event(new_user())))


def counts() -> tuple[float, float]:
    return counted("gozon_notifications_published"), counted("gozon_duplicate_events", stage="notifications")


async def test_fan_out_moves_to_the_primary_of_the_sentinels_if_its_primary_has_lost_its_replicas(
    start: Start, tmp_path: Path
) -> None:
    alone, another = await start("alone"), await start("another")
    await start("replica", another)
    async with Sentinel(tmp_path, alone) as sentinel, connected(sentinel.url) as redis:

        async def connects() -> None:
            await redis.ping()

        await succeeds(connects)
        fan_out, event = FanOut(redis, copies=1), an_event()
        with pytest.raises(NotReplicated):
            await fan_out.publish([event])
        await sentinel.set_primary(another)
        await succeeds(lambda: fan_out.publish([event]))


async def test_an_event_that_is_replicated_on_the_second_attempt_is_counted_once(start: Start) -> None:
    primary = await start("primary")
    async with connected(primary.url) as redis:
        fan_out, event = FanOut(redis, copies=1), an_event()
        published, duplicates = counts()
        with pytest.raises(NotReplicated):
            await fan_out.publish([event])
        assert counts() == (published + 1, duplicates)
        await start("replica", primary)
        await succeeds(lambda: fan_out.publish([event]))
        assert counts()[0] == published + 1


def test_a_sentinel_url_is_parsed() -> None:
    options = sentinel_options("redis+sentinel://us%40er:p%3Aw@one:1,two:2,three/shop/3")
    assert (options["username"], options["password"]) == ("us@er", "p:w")
    assert (options["primary"], options["db"]) == ("shop", 3)
    addresses = [sentinel.connection_pool.connection_kwargs for sentinel in options["sentinel"].sentinels]
    assert [(each["host"], each["port"]) for each in addresses] == [("one", 1), ("two", 2), ("three", 26379)]
    assert {(each["username"], each["password"]) for each in addresses} == {("us@er", "p:w")}
    bare = sentinel_options("redis+sentinel://one/shop")
    assert (bare["username"], bare["password"], bare["db"]) == (None, None, 0)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one:1",
        "redis+sentinel://one:1/",
        "redis+sentinel:///shop/0",
        "redis+sentinel://one:1,/shop",
        "redis+sentinel://:1/shop",
    ],
)
def test_a_sentinel_url_without_host_or_primary_is_rejected(url: str) -> None:
    with pytest.raises(ValueError, match=r"has no (host|primary)"):
        sentinel_options(url)
