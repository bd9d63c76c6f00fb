import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from notifier import subscriber as subscriber_module
from notifier.subscriber import Subscriber
from tests.servers import running
from tests.support import eventually


async def test_a_channel_that_is_wanted_again_while_others_are_unsubscribed_stays_subscribed(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_module, "SUBSCRIBE_BATCH_SIZE", 1)
    received: list[tuple[bytes, bytes]] = []
    subscriber = Subscriber(redis, received.extend, nothing, nothing)
    async with running(subscriber):
        users = {b"alice", b"bob"}
        for user in users:
            await subscriber.subscribe(user)
        send, unsubscribed, may_unsubscribe = AbstractConnection.send_command, list[bytes](), asyncio.Event()

        async def slowly(connection: AbstractConnection, *words: Any, **how: Any) -> None:
            if words[0] == "UNSUBSCRIBE":
                unsubscribed.extend(words[1:])
                await may_unsubscribe.wait()
            await send(connection, *words, **how)

        monkeypatch.setattr(AbstractConnection, "send_command", slowly)
        for user in users:
            subscriber.unsubscribe(user)

        async def one_is_being_unsubscribed() -> bool:
            return len(unsubscribed) == 1

        await eventually(one_is_being_unsubscribed)
        [wanted_again] = users - set(unsubscribed)
        await subscriber.subscribe(wanted_again)
        may_unsubscribe.set()
        await subscriber.subscribe(b"carol")  # all earlier commands were sent before this one is confirmed
        await redis.publish(wanted_again, b"news")

        async def has_received() -> bool:
            return (wanted_again, b"news") in received

        await eventually(has_received)


async def nothing() -> None:
    pass
