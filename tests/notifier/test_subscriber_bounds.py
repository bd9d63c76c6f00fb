"""The subscriber's memory is bounded by the open sockets, even if Redis confirms nothing while many come and go."""

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

BATCH_SIZE = 8


def collection_sizes(subscriber: Subscriber) -> dict[str, int]:
    """Returns the size of each collection among the subscriber's attributes."""
    return {
        name: len(cast("Collection[object]", value))
        for name, value in vars(subscriber).items()
        if isinstance(value, set | dict | list)
    }


async def nothing() -> None: ...


async def test_short_lived_channels_are_not_kept_while_redis_confirms_nothing(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_module, "SUBSCRIBE_BATCH_SIZE", BATCH_SIZE)
    probing = connect(own_redis.url)
    subscriber = Subscriber(probing, lambda _: None, nothing, nothing)
    async with Redis.from_url(own_redis.url, protocol=2) as redis, running(subscriber):
        await succeeds(subscriber.check)
        await subscriber.subscribe(b"stays")
        own_redis.send(signal.SIGSTOP)
        for number in range(20 * BATCH_SIZE):
            channel = b"visitor-%d" % number
            visit = asyncio.create_task(subscriber.subscribe(channel))
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)  # lets the subscriber send its commands
            visit.cancel()
            await asyncio.gather(visit, return_exceptions=True)
            subscriber.unsubscribe(channel)
        held = collection_sizes(subscriber)
        own_redis.send(signal.SIGCONT)
        assert len(held) >= 5, "the collections were not found"
        assert max(held.values()) <= 2 + BATCH_SIZE, held

        async def only_the_lasting_channel_is_subscribed() -> bool:
            return await redis.pubsub_channels("[sv]*") == [b"stays"]

        await eventually(only_the_lasting_channel_is_subscribed)
        assert max(collection_sizes(subscriber).values()) <= 2
    await probing.aclose(close_connection_pool=True)
