from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.conftest import Spawn
from tests.support import Replica, free_port


class View:
    """The snapshots of a replica of backstage."""

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


StartBackstage = Callable[..., Awaitable[View]]


@pytest.fixture
def start_backstage(spawn: Spawn, session: aiohttp.ClientSession) -> StartBackstage:
    """`await start_backstage(orders=url, broker=url)` starts a replica. Servers without a URL are unavailable."""

    async def start(broker: str | None = None, **urls: str) -> View:
        services = ("orders", "payments", "notifier", "gateway")
        settings = {f"{name.upper()}_URLS": urls.get(name, _unavailable("http://")) for name in services}
        return View(await spawn("backstage", BROKER_URL=broker or _unavailable("amqp://"), **settings), session)

    return start


def _unavailable(scheme: str) -> str:
    return f"{scheme}127.0.0.1:{free_port()}"
