"""The primary of Redis crashes or freezes, and the sentinel promotes a replica.

Each test has two notifier replicas, and a socket of every user on both. Events are published all the time.
"""

import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.notifier.sentinel import Sentinel
from tests.notifier.watched import OpenCrowd, OwnRedis, StartReplicas, assert_recovered
from tests.support import eventually

pytestmark = pytest.mark.processes

# A new replica gets its copy without the usual delay of five seconds. A primary without replicas refuses writes.
REPLICATED = """
repl-diskless-sync-delay 0
repl-ping-replica-period 1
min-replicas-to-write 1
min-replicas-max-lag 3
"""


class Group:
    """A primary with two replicas and a sentinel. The first of the two sentinel addresses is dead."""

    def __init__(self, primary: OwnRedis, replicas: list[OwnRedis], sentinel: Sentinel) -> None:
        self.primary = primary
        self.replicas = replicas
        self.sentinel = sentinel
        self.url = sentinel.url

    async def wait_for_another_primary(self) -> None:
        async def its_port_is_another() -> bool:
            return (await self.sentinel.state())["port"] != self.primary.port

        await eventually(its_port_is_another)

    async def wait_until_replicas_left_the_old_primary(self) -> None:
        """Asks the replicas, because the old primary may be frozen."""

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
async def test_nothing_is_lost_or_shown_twice_when_the_primary_is_killed(
    group: Group,
    start_replicas: StartReplicas,
    open_crowd: OpenCrowd,
    session: aiohttp.ClientSession,
    comes_back: bool,
) -> None:
    replicas = await start_replicas(group.url, group.url, REDIS_REPLICAS="1")
    crowd = await open_crowd(replicas)
    await group.primary.end(signal.SIGKILL)
    await crowd.publish_for_each()
    await group.wait_for_another_primary()
    if comes_back:
        await group.primary.start()
    await assert_recovered(crowd, session, replicas)
    assert not any(socket.welcomes for socket in crowd.sockets), "a page had to reload its orders"


async def test_an_event_that_no_redis_replica_has_is_neither_shown_nor_acknowledged(
    group: Group, start_replicas: StartReplicas, open_crowd: OpenCrowd, session: aiohttp.ClientSession
) -> None:
    """The primary takes events while its replicas are frozen, and crashes before they receive the events."""
    replicas = await start_replicas(group.url, group.url, REDIS_REPLICAS="1")
    crowd = await open_crowd(replicas)
    for replica in group.replicas:
        replica.send(signal.SIGSTOP)
    published = await crowd.publish_for_each()

    async def the_primary_has_them() -> bool:
        counts = [await replica.metric(session, "gozon_handler_failures_total") for replica in replicas]
        return any(counts)

    await eventually(the_primary_has_them)
    not_replicated = {event_id for _, event_id in published}
    assert not any(not_replicated & socket.shown_ids() for socket in crowd.sockets)
    await group.primary.end(signal.SIGKILL)
    for replica in group.replicas:
        replica.send(signal.SIGCONT)
    await group.wait_for_another_primary()
    await assert_recovered(crowd, session, replicas)


async def test_the_notifier_leaves_a_primary_that_was_demoted(
    group: Group, start_replicas: StartReplicas, open_crowd: OpenCrowd, session: aiohttp.ClientSession
) -> None:
    """The primary freezes, is replaced, and resumes without knowing that.

    The test waits until its last replica has left it. Before that, a client could be shown an event by the old
    primary and again by the new one (docs/guarantees.md), because Redis has no fencing.
    """
    replicas = await start_replicas(group.url, group.url, REDIS_REPLICAS="1")
    crowd = await open_crowd(replicas)
    group.primary.send(signal.SIGSTOP)
    await group.wait_for_another_primary()
    await group.wait_until_replicas_left_the_old_primary()
    group.primary.send(signal.SIGCONT)
    await assert_recovered(crowd, session, replicas)
    assert not any(socket.welcomes for socket in crowd.sockets)
