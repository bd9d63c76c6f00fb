"""Periodic work. Every replica does it, and the SQL of the work keeps replicas from doing the same rows."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from shopkit.db.database import Database
from shopkit.runtime.retry import is_transient, pause

PAUSE_BETWEEN_BATCHES_SECONDS = 0.1

log = structlog.get_logger()


class Periodic:
    """A worker that runs `task` about every `seconds`.

    `task` does one small batch and returns whether there is more. If so, the next batch follows after a short
    pause.
    """

    def __init__(self, name: str, database: Database, seconds: float, task: Callable[[], Awaitable[bool]]) -> None:
        self._name = name
        self._database = database
        self._seconds = seconds
        self._task = task
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        if not await self._database.wait_migrated(self._stopping):
            return
        while not self._stopping.is_set():
            more = await self._once()
            seconds = PAUSE_BETWEEN_BATCHES_SECONDS if more else self._seconds * random.uniform(0.5, 1.5)  # noqa: S311
            await pause(self._stopping, seconds)

    def stop(self) -> None:
        self._stopping.set()

    async def _once(self) -> bool:
        try:
            return await self._task()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("periodic work postponed after a database error", work=self._name, error=repr(error))
            return False
