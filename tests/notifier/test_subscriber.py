import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from notifier import subscriber as subscriber_module
from notifier.subscriber import Subscriber
from tests.servers import running
from tests.support import eventually


async def test_who_comes_back_while_others_are_leaving_stays_subscribed(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_module, "SUBSCRIBE_BATCH_SIZE", 1)
    heard: list[tuple[bytes, bytes]] = []
    subscriber = Subscriber(redis, heard.extend, nothing, nothing)
    async with running(subscriber):
        users = {b"alice", b"bob"}
        for user in users:
            await subscriber.subscribe(user)
        send, left, may_leave = AbstractConnection.send_command, list[bytes](), asyncio.Event()

        async def slowly(connection: AbstractConnection, *words: Any, **how: Any) -> None:
            if words[0] == "UNSUBSCRIBE":
                left.extend(words[1:])
                await may_leave.wait()
            await send(connection, *words, **how)

        monkeypatch.setattr(AbstractConnection, "send_command", slowly)
        for user in users:
            subscriber.unsubscribe(user)

        async def one_is_leaving() -> bool:
            return len(left) == 1

        await eventually(one_is_leaving)
        [back] = users - set(left)
        await subscriber.subscribe(back)
        may_leave.set()
        await subscriber.subscribe(b"carol")  # what was to be sent before is sent
        await redis.publish(back, b"news")

        async def is_told() -> bool:
            return (back, b"news") in heard

        await eventually(is_told)


async def nothing() -> None:
    pass
