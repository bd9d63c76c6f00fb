"""The latest snapshot: it is read on request only, and all requests within a second share one."""

import asyncio
import time
from datetime import UTC, datetime

from backstage.build_snapshot import build_snapshot
from backstage.queues import Queues
from backstage.replicas import Replicas
from backstage.snapshot import Snapshot

CACHE_SECONDS = 1


class Latest:
    """The cache of the latest snapshot."""

    def __init__(self, replicas: Replicas, queues: Queues) -> None:
        self._replicas = replicas
        self._queues = queues
        self._reading = asyncio.Lock()
        self._cached: Snapshot | None = None
        self._cached_until = 0.0

    async def snapshot(self) -> Snapshot:
        """Returns a snapshot that is at most CACHE_SECONDS old. Concurrent callers wait for one reading."""
        async with self._reading:
            if self._cached is None or time.monotonic() > self._cached_until:
                self._cached = await self._read()
                self._cached_until = time.monotonic() + CACHE_SECONDS
            return self._cached

    async def _read(self) -> Snapshot:
        at = datetime.now(UTC)
        scraped, depths = await asyncio.gather(self._replicas.read(), self._queues.depths())
        return build_snapshot(at, scraped, depths)
