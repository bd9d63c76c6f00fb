"""Sockets join while Redis is slow, or while their replica loses its subscription."""

import asyncio
import signal
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from notifier import scripts
from notifier.scripts import Command
from notifier.streams import sockets_key
from tests.notifier.hubs import (
    InterceptedRun,
    append_event,
    lose_subscription,
    new_socket,
    registered_sockets_are,
    registers_a_socket,
    running_hub,
)
from tests.notifier.watched import OwnRedis
from tests.support import eventually, new_user


async def test_sockets_that_fail_to_join_in_time_are_removed_from_the_users_sockets(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = new_user()
    async with running_hub(own_redis.url) as hub, Redis.from_url(own_redis.url, protocol=2) as redis:
        live, _ = new_socket(user_id)
        await hub.join(live, None)
        late = [new_socket(user_id)[0] for _ in range(5)]

        with monkeypatch.context() as patch:
            patch.setattr(scripts, "ANSWER_SECONDS", 0.5)
            own_redis.send(signal.SIGSTOP)
            outcomes = await asyncio.gather(*(hub.join(socket, None) for socket in late), return_exceptions=True)
            for socket in late:
                hub.leave(socket)
            own_redis.send(signal.SIGCONT)
        assert {type(outcome) for outcome in outcomes} == {TimeoutError}

        last, _ = new_socket(user_id)
        await hub.join(last, None)

        async def only_the_joined_sockets_are_registered() -> bool:
            return await registered_sockets_are(redis, live, last)

        await eventually(only_the_joined_sockets_are_registered)


async def test_a_socket_that_leaves_before_its_registration_reaches_redis_is_removed(
    redis: Redis, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(InterceptedRun):
        def __init__(self) -> None:
            super().__init__()
            self.waits, self.left, self.may_go = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def before(self, commands: Sequence[Command]) -> None:
            if registers_a_socket(commands):
                self.waits.set()
                await self.may_go.wait()

        async def after(self, commands: Sequence[Command]) -> None:
            if any("left" in command for command in commands):
                self.left.set()

    user_id = new_user()
    async with running_hub(servers["redis"]) as hub:
        socket, _ = new_socket(user_id)
        monkeypatch.setattr(scripts, "run", late := Late())
        joining = asyncio.create_task(hub.join(socket, None))
        await late.waits.wait()
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        hub.leave(socket)
        await late.left.wait()
        late.left.clear()
        late.may_go.set()
        await late.left.wait()
        assert not await redis.exists(sockets_key(user_id))


async def test_a_joining_socket_receives_messages_published_while_the_subscription_was_lost(
    redis: Redis, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class LosesTheSubscription(InterceptedRun):
        async def after(self, commands: Sequence[Command]) -> None:
            if registers_a_socket(commands):
                offsets.append(await append_event(redis, user_id, publish=False))
                await lose_subscription(hub, redis)

    user_id, offsets = new_user(), list[int]()
    async with running_hub(servers["redis"]) as hub:
        socket, wire = new_socket(user_id)
        monkeypatch.setattr(scripts, "run", LosesTheSubscription())
        await hub.join(socket, None)
        assert offsets
        assert wire.offsets() == offsets
