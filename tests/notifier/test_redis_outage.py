"""Redis restarts with or without its data, or goes silent while no connection closes.

Each test has two replicas, and a socket of every user on both. Events are published all the time.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from gozon.topology import ORDER_STATUS
from tests.notifier.watched import Crowd, OpenCrowd, OwnRedis, StartReplicas, assert_recovered, wait_until_not_ready
from tests.servers import Broker, Forwarder
from tests.support import Replica, eventually


@pytest.mark.parametrize(
    ("outage", "how"), [(0.2, signal.SIGKILL), (5, signal.SIGKILL), (30, signal.SIGTERM)], ids=str
)
async def test_nothing_is_lost_or_shown_twice_when_redis_restarts_with_its_data(
    own_redis: OwnRedis,
    start_replicas: StartReplicas,
    open_crowd: OpenCrowd,
    session: aiohttp.ClientSession,
    outage: float,
    how: signal.Signals,
) -> None:
    replicas = await start_replicas(own_redis.url, own_redis.url)
    crowd = await open_crowd(replicas)
    await own_redis.end(how)
    async with at_least(outage):
        await crowd.publish_for_each()
        if outage > 1:
            await wait_until_not_ready(session, *replicas)
    await own_redis.start()
    await assert_recovered(crowd, session, replicas)
    assert not any(socket.welcomes for socket in crowd.sockets), "a page had to reload its orders"


@pytest.mark.parametrize("outage", [0.2, 5])
async def test_every_open_socket_gets_an_unrecovered_welcome_when_redis_restarts_empty(
    own_redis: OwnRedis,
    start_replicas: StartReplicas,
    open_crowd: OpenCrowd,
    session: aiohttp.ClientSession,
    outage: float,
) -> None:
    replicas = await start_replicas(own_redis.url, own_redis.url)
    crowd = await open_crowd(replicas)
    await own_redis.end()
    # Redis may have lost events that it had taken and not yet published. Pages read those over REST.
    crowd.published.clear()
    async with at_least(outage):
        await crowd.publish_for_each()
        if outage > 1:
            await wait_until_not_ready(session, *replicas)
    await own_redis.start(empty=True)
    await assert_recovered(crowd, session, replicas)
    for socket in crowd.sockets:
        assert [welcome["recovered"] for welcome in socket.welcomes] == [False]


async def test_events_that_redis_could_not_take_stay_in_rabbitmq_when_the_replicas_stop(
    own_redis: OwnRedis,
    start_replicas: StartReplicas,
    open_crowd: OpenCrowd,
    session: aiohttp.ClientSession,
    broker: Broker,
) -> None:
    replicas = await start_replicas(own_redis.url, own_redis.url)
    crowd = await open_crowd(replicas)
    await own_redis.end()
    crowd.stop()
    kept = len(await crowd.publish_for_each())

    async def one_has_tried() -> bool:
        line = 'gozon_handler_failures_total{stage="notifier.order-status"}'
        return any([await replica.metric(session, line) for replica in replicas])

    await eventually(one_has_tried)
    for replica in replicas:
        await replica.stop()
    assert await broker.left_in(ORDER_STATUS.name) >= kept

    await own_redis.start()
    (replica,) = await start_replicas(own_redis.url)
    for socket in crowd.sockets:
        await socket.assert_reconnecting_shows_the_missing(replica, crowd.published, session)


@pytest.mark.parametrize("forget", [False, True], ids=["its connections survive", "its connections are dropped"])
async def test_a_replica_whose_redis_connections_went_silent_catches_up_while_another_works(
    own_redis: OwnRedis,
    start_replicas: StartReplicas,
    open_crowd: OpenCrowd,
    way_to: Callable[[str], Forwarder],
    session: aiohttp.ClientSession,
    forget: bool,
) -> None:
    way = way_to(own_redis.url)
    await way.open()
    silent, healthy = await start_replicas(way.url, own_redis.url)
    crowd = await open_crowd([silent, healthy])

    way.hold()
    await wait_until_not_ready(session, silent)
    if forget:  # until the replica has dropped this subscription and waits for the next one
        await wait_until_not_ready(session, silent, part="subscription")
    await wait_until_behind(crowd, silent, healthy)
    assert (await healthy.readiness(session))[0] == 200

    way.resume(forget=forget)
    await assert_recovered(crowd, session, [silent, healthy])
    assert not any(socket.welcomes for socket in crowd.sockets)


async def test_a_replica_whose_subscription_went_silent_notices_it_and_catches_up(
    own_redis: OwnRedis,
    start_replicas: StartReplicas,
    open_crowd: OpenCrowd,
    way_to: Callable[[str], Forwarder],
    session: aiohttp.ClientSession,
) -> None:
    way = way_to(own_redis.url)
    await way.open()
    silent, healthy = await start_replicas(way.url, own_redis.url)
    crowd = await open_crowd([silent, healthy])

    way.hold(subscriptions_only=True)
    await wait_until_not_ready(session, silent, part="subscription")
    await wait_until_behind(crowd, silent, healthy)
    assert (await healthy.readiness(session))[0] == 200

    # No later message reveals the gap, so the replica must read the missed messages by itself.
    crowd.stop()
    await crowd.wait_until_all_shown(crowd.on(healthy))
    await wait_until_behind(crowd, silent, healthy)
    way.resume()
    await crowd.wait_until_all_shown()
    await assert_recovered(crowd, session, [silent, healthy])
    assert not any(socket.welcomes for socket in crowd.sockets)


async def wait_until_behind(crowd: Crowd, silent: Replica, healthy: Replica) -> None:
    """Waits until each socket on `healthy` was shown an event that the same user's socket on `silent` was not."""

    async def each_is_behind_its_twin() -> bool:
        twins = zip(crowd.on(silent), crowd.on(healthy), strict=True)
        return all(theirs.shown_ids() - ours.shown_ids() for ours, theirs in twins)

    await eventually(each_is_behind_its_twin)


@asynccontextmanager
async def at_least(seconds: float) -> AsyncGenerator[None]:
    """Returns after `seconds`, or later if its body takes longer."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    yield
    await asyncio.sleep(end - loop.time())
