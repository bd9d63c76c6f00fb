"""The latest snapshot: read when somebody asks, and shared by all who ask within a second."""

import asyncio
import time
from datetime import UTC, datetime

from backstage.build_snapshot import compose
from backstage.queues import Queues
from backstage.replicas import Replicas
from backstage.snapshot import Snapshot

KEPT_SECONDS = 1


class Latest:
    def __init__(self, replicas: Replicas, queues: Queues) -> None:
        self._replicas = replicas
        self._queues = queues
        self._reading = asyncio.Lock()
        self._kept: Snapshot | None = None
        self._kept_until = 0.0

    async def snapshot(self) -> Snapshot:
        """Whoever comes while it is being read waits for it, and reads nothing."""
        async with self._reading:
            if self._kept is None or time.monotonic() > self._kept_until:
                self._kept = await self._read()
                self._kept_until = time.monotonic() + KEPT_SECONDS
            return self._kept

    async def _read(self) -> Snapshot:
        at = datetime.now(UTC)
        found, depths = await asyncio.gather(self._replicas.read(), self._queues.depths())
        return compose(at, found, depths)
