from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.conftest import Spawn
from tests.support import Replica, free_port


class View:
    """What a replica of backstage shows."""

    def __init__(self, replica: Replica, session: aiohttp.ClientSession) -> None:
        self.replica = replica
        self._session = session

    async def now(self) -> dict[str, Any]:
        async with self._session.get(self.replica.url + "/api/backstage") as response:
            assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
            return await response.json()

    async def replicas(self) -> dict[str, dict[str, Any]]:
        return {replica["name"]: replica for replica in (await self.now())["replicas"]}

    async def queues(self) -> dict[str, int | None]:
        return {queue["name"]: queue["messages"] for queue in (await self.now())["queues"]}


LookAt = Callable[..., Awaitable[View]]


@pytest.fixture
def look_at(spawn: Spawn, session: aiohttp.ClientSession) -> LookAt:
    """`await look_at(orders=url, broker=url)`: a view of these; whatever is not named is away."""

    async def start(broker: str | None = None, **urls: str) -> View:
        services = ("orders", "payments", "notifier", "gateway")
        settings = {f"{name.upper()}_URLS": urls.get(name, _nowhere("http://")) for name in services}
        return View(await spawn("backstage", BROKER_URL=broker or _nowhere("amqp://"), **settings), session)

    return start


def _nowhere(scheme: str) -> str:
    return f"{scheme}127.0.0.1:{free_port()}"
