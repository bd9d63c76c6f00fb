"""Nothing that the subscriber keeps outgrows the sockets, however many come and go while Redis confirms nothing."""

import asyncio
import signal
from collections.abc import Collection
from typing import cast

import pytest
from redis.asyncio import Redis

from notifier import subscriber as subscriber_module
from notifier.streams import connect
from notifier.subscriber import Subscriber
from tests.notifier.watched import OwnRedis
from tests.servers import running, succeeds
from tests.support import eventually

AT_ONCE = 8


def kept(subscriber: Subscriber) -> dict[str, int]:
    """How much each collection of the subscriber holds, whatever its name is."""
    return {
        name: len(cast("Collection[object]", value))
        for name, value in vars(subscriber).items()
        if isinstance(value, set | dict | list)
    }


async def nothing() -> None: ...


async def test_channels_that_come_and_go_while_redis_confirms_nothing_are_forgotten(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_module, "SUBSCRIBE_BATCH_SIZE", AT_ONCE)
    probing = connect(own_redis.url)
    subscriber = Subscriber(probing, lambda _: None, nothing, nothing)
    async with Redis.from_url(own_redis.url, protocol=2) as redis, running(subscriber):
        await succeeds(subscriber.check)
        await subscriber.subscribe(b"stays")
        own_redis.send(signal.SIGSTOP)
        for number in range(20 * AT_ONCE):
            channel = b"visitor-%d" % number
            visit = asyncio.create_task(subscriber.subscribe(channel))
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)  # Redis is sent what there is to send
            visit.cancel()
            await asyncio.gather(visit, return_exceptions=True)
            subscriber.unsubscribe(channel)
        held = kept(subscriber)
        own_redis.send(signal.SIGCONT)
        assert len(held) >= 5, "it looks at nothing"
        assert max(held.values()) <= 2 + AT_ONCE, held

        async def only_who_stays_is_heard() -> bool:
            return await redis.pubsub_channels("[sv]*") == [b"stays"]

        await eventually(only_who_stays_is_heard)
        assert max(kept(subscriber).values()) <= 2
    await probing.aclose(close_connection_pool=True)
