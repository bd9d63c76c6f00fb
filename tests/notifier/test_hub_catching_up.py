"""A socket reads what it missed once and in order. If the read fails, no other socket suffers for it."""

import asyncio
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from notifier import scripts
from notifier.close_codes import Close
from notifier.hub import HELD_LIMIT, Hub
from notifier.scripts import READ, Command
from notifier.streams import channel, connect, stream_key
from tests.notifier.hubs import Between, a_hub, a_socket, happened, heard_again, patience
from tests.support import eventually, new_user

NOWHERE = "redis://127.0.0.1:1/0"


def reads(commands: Sequence[Command]) -> bool:
    return all(command[:2] == READ([])[:2] for command in commands)


async def test_only_the_socket_that_could_not_be_caught_up_is_given_up() -> None:
    redis = connect(NOWHERE)
    hub = Hub(redis, redis, "a-replica", sockets_per_user=10)
    (slow, slows_wire), (fast, fasts_wire) = a_socket("a-user"), a_socket("a-user")
    for socket in (slow, fast):
        socket.joined, socket.held, socket.position = True, None, 5
    hub._sockets[channel("a-user")] = (slow, fast)  # pyright: ignore[reportPrivateUsage]

    await hub._catch_up(slow)  # pyright: ignore[reportPrivateUsage]

    assert (slows_wire.closed, fasts_wire.closed) == ([Close.TRY_AGAIN], [])
    assert fast.held is None, "it would hold back every message from now on"
    await redis.aclose()


async def test_a_stream_that_cannot_be_read_costs_its_user_the_socket_and_no_other_user(
    redis: Redis, servers: dict[str, str]
) -> None:
    async with a_hub(servers["redis"]) as hub:
        (unlucky, unluckys_wire), (other, others_wire) = a_socket(new_user()), a_socket(new_user())
        for socket in (unlucky, other):
            await hub.join(socket, None)
        await redis.xadd(stream_key(unlucky.user_id), {"not": "ours"}, id="9-0")
        offset = await happened(redis, other.user_id, publish=False)

        await heard_again(hub, redis)

        assert (unluckys_wire.closed, others_wire.closed) == ([Close.INTERNAL_ERROR], [])
        assert others_wire.offsets() == [offset]


async def test_a_gap_in_a_stream_that_cannot_be_read_closes_the_socket(
    redis: Redis, servers: dict[str, str]
) -> None:
    async with a_hub(servers["redis"]) as hub:
        socket, wire = a_socket(new_user())
        await hub.join(socket, None)
        await happened(redis, socket.user_id)
        await redis.xadd(stream_key(socket.user_id), {"not": "ours"})
        await redis.publish(channel(socket.user_id).decode(), f"{2**51} {2**51 + 1} 0 0 {{}}")

        async def it_is_closed() -> bool:
            return wire.closed == [Close.INTERNAL_ERROR]

        await eventually(it_is_closed)


async def test_of_two_reasons_to_read_on_the_later_waits_and_no_socket_moves_back(
    redis: Redis, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first read finds less than the second. Answered after it, the first would move the socket back."""

    class FirstIsSlow(Between):
        """The first read is answered after the second, if a second one is made meanwhile."""

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
                await patience(self.second_answered, 2)

    user_id = new_user()
    async with a_hub(servers["redis"]) as hub:
        socket, wire = a_socket(user_id)
        await hub.join(socket, None)
        await happened(redis, user_id)
        monkeypatch.setattr(scripts, "run", slow := FirstIsSlow())

        await happened(redis, user_id, publish=False)
        await redis.xtrim(stream_key(user_id), maxlen=0, approximate=False)  # not recovered, so a welcome follows
        first = await happened(redis, user_id)
        await slow.asked.wait()
        second = await happened(redis, user_id, publish=False)
        await heard_again(hub, redis)
        third = await happened(redis, user_id)

        async def it_is_at_the_end() -> bool:
            return socket.position == third

        await eventually(it_is_at_the_end)
        assert wire.offsets()[1:] == [first, second, third]
        assert [frame["type"] for frame in wire.frames].count("welcome") == 2


async def test_what_is_held_for_a_socket_has_a_limit_and_is_given_all_the_same(
    redis: Redis, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Between):
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.may_end = asyncio.Event(), asyncio.Event()

        async def after(self, commands: Sequence[Command]) -> None:
            if reads(commands):
                self.asked.set()
                await self.may_end.wait()

    user_id, count = new_user(), HELD_LIMIT + 20
    async with a_hub(servers["redis"]) as hub:
        socket, wire = a_socket(user_id)
        await hub.join(socket, None)
        monkeypatch.setattr(scripts, "run", slow := Slow())
        offsets = [await happened(redis, user_id), await happened(redis, user_id, publish=False)]
        offsets.append(await happened(redis, user_id))
        await slow.asked.wait()
        offsets += [await happened(redis, user_id) for _ in range(count)]

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
