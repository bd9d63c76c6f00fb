"""What a process of the generator has left: how late its loop is, and how much of a core it takes."""

import asyncio
import time
from array import array

EVERY_SECONDS = 0.01


class Effort:
    def __init__(self) -> None:
        self.lags = array("d")
        self.share = 0.0

    async def feel(self) -> None:
        """Until it is cancelled."""
        wall, cpu = time.perf_counter(), time.process_time()
        while True:
            due = time.perf_counter() + EVERY_SECONDS
            await asyncio.sleep(EVERY_SECONDS)
            now = time.perf_counter()
            self.lags.append(max(0.0, now - due))
            self.share = (time.process_time() - cpu) / (now - wall)
