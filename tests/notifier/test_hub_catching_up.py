"""A socket that missed messages reads them once and in order. A failed read affects no other socket."""

import asyncio
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from notifier import scripts
from notifier.close_codes import Close
from notifier.hub import HELD_LIMIT, Hub
from notifier.scripts import READ, Command
from notifier.streams import channel, connect, stream_key
from tests.notifier.hubs import (
    InterceptedRun,
    append_event,
    came_in_time,
    lose_subscription,
    new_socket,
    running_hub,
)
from tests.support import eventually, new_user

NOWHERE = "redis://127.0.0.1:1/0"


def reads(commands: Sequence[Command]) -> bool:
    return all(command[:2] == READ([])[:2] for command in commands)


async def test_only_the_socket_whose_catch_up_failed_is_closed() -> None:
    redis = connect(NOWHERE)
    hub = Hub(redis, redis, "a-replica", sockets_per_user=10)
    (slow, slows_wire), (fast, fasts_wire) = new_socket("a-user"), new_socket("a-user")
    for socket in (slow, fast):
        socket.joined, socket.held, socket.position = True, None, 5
    hub._sockets[channel("a-user")] = (slow, fast)  # pyright: ignore[reportPrivateUsage]

    await hub._catch_up(slow)  # pyright: ignore[reportPrivateUsage]

    assert (slows_wire.closed, fasts_wire.closed) == ([Close.TRY_AGAIN], [])
    assert fast.held is None, "it would hold back every later message"
    await redis.aclose()


async def test_an_unreadable_stream_closes_the_sockets_of_its_user_only(
    redis: Redis, servers: dict[str, str]
) -> None:
    async with running_hub(servers["redis"]) as hub:
        (unlucky, unluckys_wire), (other, others_wire) = new_socket(new_user()), new_socket(new_user())
        for socket in (unlucky, other):
            await hub.join(socket, None)
        await redis.xadd(stream_key(unlucky.user_id), {"not": "ours"}, id="9-0")
        offset = await append_event(redis, other.user_id, publish=False)

        await lose_subscription(hub, redis)

        assert (unluckys_wire.closed, others_wire.closed) == ([Close.INTERNAL_ERROR], [])
        assert others_wire.offsets() == [offset]


async def test_a_gap_in_an_unreadable_stream_closes_the_socket(redis: Redis, servers: dict[str, str]) -> None:
    async with running_hub(servers["redis"]) as hub:
        socket, wire = new_socket(new_user())
        await hub.join(socket, None)
        await append_event(redis, socket.user_id)
        await redis.xadd(stream_key(socket.user_id), {"not": "ours"})
        await redis.publish(channel(socket.user_id).decode(), f"{2**51} {2**51 + 1} 0 0 {{}}")

        async def it_is_closed() -> bool:
            return wire.closed == [Close.INTERNAL_ERROR]

        await eventually(it_is_closed)


async def test_reads_of_a_socket_do_not_overlap_and_its_position_never_moves_back(
    redis: Redis, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first read finds fewer messages than the second. If its reply came last, the socket would move back."""

    class FirstIsSlow(InterceptedRun):
        """Delays the reply of the first read until the reply of a second read, if one is made meanwhile."""

        def __init__(self) -> None:
            super().__init__()
            self.asked, self.second_answered = asyncio.Event(), asyncio.Event()

        async def after(self, commands: Sequence[Command]) -> None:
            if not reads(commands):
                return
            if self.asked.is_set():
                self.second_answered.set()
            else:
                self.asked.set()
                await came_in_time(self.second_answered, 2)

    user_id = new_user()
    async with running_hub(servers["redis"]) as hub:
        socket, wire = new_socket(user_id)
        await hub.join(socket, None)
        await append_event(redis, user_id)
        monkeypatch.setattr(scripts, "run", slow := FirstIsSlow())

        await append_event(redis, user_id, publish=False)
        await redis.xtrim(stream_key(user_id), maxlen=0, approximate=False)  # not recovered, so a welcome follows
        first = await append_event(redis, user_id)
        await slow.asked.wait()
        second = await append_event(redis, user_id, publish=False)
        await lose_subscription(hub, redis)
        third = await append_event(redis, user_id)

        async def it_is_at_the_end() -> bool:
            return socket.position == third

        await eventually(it_is_at_the_end)
        assert wire.offsets()[1:] == [first, second, third]
        assert [frame["type"] for frame in wire.frames].count("welcome") == 2


async def test_held_frames_are_limited_and_dropped_ones_are_delivered_from_the_stream(
    redis: Redis, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(InterceptedRun):
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.may_end = asyncio.Event(), asyncio.Event()

        async def after(self, commands: Sequence[Command]) -> None:
            if reads(commands):
                self.asked.set()
                await self.may_end.wait()

    user_id, count = new_user(), HELD_LIMIT + 20
    async with running_hub(servers["redis"]) as hub:
        socket, wire = new_socket(user_id)
        await hub.join(socket, None)
        monkeypatch.setattr(scripts, "run", slow := Slow())
        offsets = [await append_event(redis, user_id), await append_event(redis, user_id, publish=False)]
        offsets.append(await append_event(redis, user_id))
        await slow.asked.wait()
        offsets += [await append_event(redis, user_id) for _ in range(count)]

        async def the_last_is_held() -> bool:
            return bool(socket.held) and socket.held[-1].offset == offsets[-1]

        await eventually(the_last_is_held)
        assert socket.held is not None
        assert len(socket.held) == HELD_LIMIT
        slow.may_end.set()

        async def all_are_given() -> bool:
            return wire.offsets() == offsets

        await eventually(all_are_given)
        assert wire.closed == []
