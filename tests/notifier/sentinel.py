"""A Redis sentinel for one test."""

import asyncio
from pathlib import Path
from typing import Any, cast

from redis.asyncio import Redis

from tests.notifier.watched import PASSWORD, OwnRedis
from tests.support import free_port

WATCHING = f"""
requirepass {PASSWORD}
sentinel monitor shop 127.0.0.1 {{port}} 1
sentinel auth-pass shop {PASSWORD}
sentinel down-after-milliseconds shop 1000
sentinel failover-timeout shop 3000
"""


class Sentinel:
    def __init__(self, home: Path, primary: OwnRedis) -> None:
        self._port = free_port()
        self.url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{free_port()},127.0.0.1:{self._port}/shop/0"
        self._config = home / "sentinel.conf"
        self._config.write_text(
            f"port {self._port}\nbind 127.0.0.1\ndir {home}\n" + WATCHING.format(port=primary.port)
        )
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "Sentinel":
        self._process = await asyncio.create_subprocess_exec(
            "redis-server", self._config, "--sentinel", stdout=asyncio.subprocess.DEVNULL
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def state(self) -> dict[str, Any]:
        async with Redis(port=self._port, protocol=2, password=PASSWORD) as sentinel:
            return cast("Any", await sentinel.sentinel_master("shop"))

    async def set_primary(self, primary: OwnRedis) -> None:
        """Makes the sentinel name another primary, although the former one is still running."""
        async with Redis(port=self._port, protocol=2, password=PASSWORD) as sentinel:
            await sentinel.sentinel_remove("shop")
            await sentinel.sentinel_monitor("shop", "127.0.0.1", primary.port, 1)
            await sentinel.sentinel_set("shop", "auth-pass", PASSWORD)
