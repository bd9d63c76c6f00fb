"""A primary of Redis dies or is cut off, and its sentinel makes another one.

Each test has two replicas of the notifier and a socket of every user on both, while events keep coming.
"""

import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.notifier.sentinel import Sentinel
from tests.notifier.watched import Enter, OwnRedis, Replicas, all_is_well_again
from tests.support import eventually

# A replica is sent its copy at once instead of after five seconds, and a primary alone takes no writes.
REPLICATED = """
repl-diskless-sync-delay 0
repl-ping-replica-period 1
min-replicas-to-write 1
min-replicas-max-lag 3
"""


class Group:
    """A primary with two replicas, watched by a sentinel; the first address of the sentinel is dead."""

    def __init__(self, primary: OwnRedis, replicas: list[OwnRedis], sentinel: Sentinel) -> None:
        self.primary = primary
        self.replicas = replicas
        self.sentinel = sentinel
        self.url = sentinel.url

    async def another_is_primary(self) -> None:
        async def its_port_is_another() -> bool:
            return (await self.sentinel.state())["port"] != self.primary.port

        await eventually(its_port_is_another)

    async def nobody_follows_the_old_primary(self) -> None:
        """It may be frozen, so the replicas are asked."""

        async def followed(server: OwnRedis) -> int | None:
            async with Redis.from_url(server.url, protocol=2) as redis:
                return (await redis.info("replication")).get("master_port")

        async def all_have_left() -> bool:
            return self.primary.port not in [await followed(server) for server in self.replicas]

        await eventually(all_have_left)


@pytest.fixture
async def group(tmp_path: Path) -> AsyncGenerator[Group]:
    primary = OwnRedis(tmp_path / "primary", REPLICATED)
    replicas = [
        OwnRedis(tmp_path / name, REPLICATED + f"replicaof 127.0.0.1 {primary.port}\n") for name in ("a", "b")
    ]
    async with AsyncExitStack() as stack:
        for server in (primary, *replicas):
            await server.start()
            stack.push_async_callback(server.end, signal.SIGKILL)
        sentinel = await stack.enter_async_context(Sentinel(tmp_path, primary))

        async def both_replicas_are_known() -> bool:
            async with Redis.from_url(primary.url, protocol=2) as redis:
                online = (await redis.info("replication")).get("connected_slaves") == 2
            return online and (await sentinel.state())["num-slaves"] == 2

        await eventually(both_replicas_are_known)
        yield Group(primary, replicas, sentinel)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_primary_is_killed_and_nothing_is_lost_or_shown_twice(
    group: Group, at: Replicas, enter: Enter, session: aiohttp.ClientSession, comes_back: bool
) -> None:
    replicas = await at(group.url, group.url, REDIS_REPLICAS="1")
    crowd = await enter(replicas)
    await group.primary.end(signal.SIGKILL)
    await crowd.tell_each()
    await group.another_is_primary()
    if comes_back:
        await group.primary.start()
    await all_is_well_again(crowd, session, replicas)
    assert not any(socket.welcomes for socket in crowd.sockets), "nothing had to be reloaded"


async def test_what_no_replica_has_is_neither_shown_nor_acknowledged(
    group: Group, at: Replicas, enter: Enter, session: aiohttp.ClientSession
) -> None:
    """The primary takes events that its replicas never hear of, and dies with them."""
    replicas = await at(group.url, group.url, REDIS_REPLICAS="1")
    crowd = await enter(replicas)
    for replica in group.replicas:
        replica.send(signal.SIGSTOP)
    told = await crowd.tell_each()

    async def the_primary_has_them() -> bool:
        counts = [await replica.metric(session, "gozon_handler_failures_total") for replica in replicas]
        return any(counts)

    await eventually(the_primary_has_them)
    nobody_sees = {event_id for _, event_id in told}
    assert not any(nobody_sees & socket.shown_ids() for socket in crowd.sockets)
    await group.primary.end(signal.SIGKILL)
    for replica in group.replicas:
        replica.send(signal.SIGCONT)
    await group.another_is_primary()
    await all_is_well_again(crowd, session, replicas)


async def test_a_primary_that_was_demoted_is_left(
    group: Group, at: Replicas, enter: Enter, session: aiohttp.ClientSession
) -> None:
    """It freezes, and wakes up as a primary that nobody knows.

    Before its last replica has left it, it could still show what its successor shows again
    (docs/guarantees.md): Redis has no fence against that.
    """
    replicas = await at(group.url, group.url, REDIS_REPLICAS="1")
    crowd = await enter(replicas)
    group.primary.send(signal.SIGSTOP)
    await group.another_is_primary()
    await group.nobody_follows_the_old_primary()
    group.primary.send(signal.SIGCONT)
    await all_is_well_again(crowd, session, replicas)
    assert not any(socket.welcomes for socket in crowd.sockets)
