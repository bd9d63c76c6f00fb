"""Work that is done every now and then, by every replica; its statements keep replicas out of each other's way."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from shopkit.db.database import Database
from shopkit.runtime.retry import is_transient, pause

BREATH_SECONDS = 0.1

log = structlog.get_logger()


class Periodic:
    """`task` does one small batch and says whether there is more; then it goes on after a breath."""

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
            await pause(self._stopping, BREATH_SECONDS if more else self._seconds * random.uniform(0.5, 1.5))  # noqa: S311

    def stop(self) -> None:
        self._stopping.set()

    async def _once(self) -> bool:
        try:
            return await self._task()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("periodic work must wait", work=self._name, error=repr(error))
            return False
