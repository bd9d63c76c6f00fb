import os
import signal
from collections.abc import AsyncGenerator

import aiohttp
import pytest

from tests.conftest import Shop
from tests.support import eventually


@pytest.fixture(autouse=True)
async def healthy_shop(shop: Shop, session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    """Starts every stopped program after a test, and waits until all replicas are ready before and after it."""
    await all_ready(shop, session)
    yield
    await shop.supervisorctl("start", "all")
    await all_ready(shop, session)


async def all_ready(shop: Shop, session: aiohttp.ClientSession) -> None:
    replicas = [replica for of_service in shop.servers["replicas"].values() for replica in of_service]

    async def every_replica_ready() -> bool:
        for replica in replicas:
            try:
                async with session.get(replica["url"] + "/health/ready") as response:
                    if response.status != 200:
                        return False
            except aiohttp.ClientError:
                return False
        return True

    await eventually(every_replica_ready, 90)


async def kill(shop: Shop, name: str) -> None:
    os.kill(int(await shop.supervisorctl("pid", name)), signal.SIGKILL)
