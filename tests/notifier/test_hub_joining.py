"""A socket that joins while Redis is slow, or while its replica loses the subscription."""

import asyncio
import signal
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from notifier import scripts
from notifier.scripts import Command
from notifier.streams import sockets_key
from tests.notifier.hubs import Between, a_hub, a_socket, attends, happened, heard_again, opens
from tests.notifier.watched import OwnRedis
from tests.support import eventually, new_user


async def test_sockets_whose_openings_are_answered_too_late_give_their_places_back(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = new_user()
    async with a_hub(own_redis.url) as hub, Redis.from_url(own_redis.url, protocol=2) as redis:
        live, _ = a_socket(user_id)
        await hub.join(live, None)
        late = [a_socket(user_id)[0] for _ in range(5)]

        with monkeypatch.context() as patch:
            patch.setattr(scripts, "ANSWER_SECONDS", 0.5)
            own_redis.send(signal.SIGSTOP)
            outcomes = await asyncio.gather(*(hub.join(socket, None) for socket in late), return_exceptions=True)
            for socket in late:
                hub.leave(socket)
            own_redis.send(signal.SIGCONT)
        assert {type(outcome) for outcome in outcomes} == {TimeoutError}

        last, _ = a_socket(user_id)
        await hub.join(last, None)

        async def only_those_that_joined_attend() -> bool:
            return await attends(redis, live, last)

        await eventually(only_those_that_joined_attend)


async def test_a_socket_that_leaves_before_its_opening_reaches_redis_keeps_no_place(
    redis: Redis, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Between):
        def __init__(self) -> None:
            super().__init__()
            self.waits, self.left, self.may_go = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def before(self, commands: Sequence[Command]) -> None:
            if opens(commands):
                self.waits.set()
                await self.may_go.wait()

        async def after(self, commands: Sequence[Command]) -> None:
            if any("left" in command for command in commands):
                self.left.set()

    user_id = new_user()
    async with a_hub(servers["redis"]) as hub:
        socket, _ = a_socket(user_id)
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


async def test_what_is_published_while_the_subscription_is_lost_is_given_to_a_socket_that_joins(
    redis: Redis, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class LosesTheSubscription(Between):
        async def after(self, commands: Sequence[Command]) -> None:
            if opens(commands):
                offsets.append(await happened(redis, user_id, publish=False))
                await heard_again(hub, redis)

    user_id, offsets = new_user(), list[int]()
    async with a_hub(servers["redis"]) as hub:
        socket, wire = a_socket(user_id)
        monkeypatch.setattr(scripts, "run", LosesTheSubscription())
        await hub.join(socket, None)
        assert offsets
        assert wire.offsets() == offsets
