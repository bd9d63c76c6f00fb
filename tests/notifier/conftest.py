import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import Spawn
from tests.notifier.push_events import ORIGIN, on
from tests.notifier.watched import USERS, Crowd, OpenCrowd, OwnRedis, StartReplicas, watched
from tests.servers import Broker, running
from tests.support import Replica, eventually


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncGenerator[OwnRedis]:
    own = OwnRedis(tmp_path)
    await own.start()
    yield own
    await own.end()


@pytest.fixture
async def open_crowd(session: aiohttp.ClientSession, broker: Broker) -> AsyncGenerator[OpenCrowd]:
    """`await open_crowd(replicas)` opens a crowd, whose sockets receive events all the time."""
    async with AsyncExitStack() as leaving:

        async def crowd_at(replicas: Sequence[Replica]) -> Crowd:
            callers = [on(replicas[0], session) for _ in range(USERS)]
            sockets = [
                await leaving.enter_async_context(watched(await caller.socket(replica.url, origin=ORIGIN), caller))
                for replica in replicas
                for caller in callers
            ]
            crowd = Crowd(broker, sockets)
            await leaving.enter_async_context(running(crowd))

            async def all_are_shown_something() -> bool:
                return all(socket.shown for socket in sockets)

            await eventually(all_are_shown_something)
            return crowd

        yield crowd_at


@pytest.fixture
def start_replicas(spawn: Spawn, broker_url: str) -> StartReplicas:
    """`await start_replicas(url, url)` starts a replica for each address of Redis."""

    async def start(*urls: str, **settings: str) -> list[Replica]:
        common = settings | {"BROKER_URL": broker_url, "ALLOWED_ORIGINS": ORIGIN}
        return list(await asyncio.gather(*(spawn("notifier", REDIS_URL=url, **common) for url in urls)))

    return start
