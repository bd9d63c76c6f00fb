"""Redis goes and comes back, with its data or without, or cannot be heard while no connection closes.

Each test has two replicas and a socket of every user on both, while events keep coming.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from gozon.topology import ORDER_STATUS
from tests.notifier.watched import Crowd, Enter, OwnRedis, Replicas, all_is_well_again, turn_red
from tests.servers import Broker, Forwarder
from tests.support import Replica, eventually


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
