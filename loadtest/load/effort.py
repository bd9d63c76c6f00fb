"""What a process of the generator has left: how late its loop is, and how much of a core it takes."""

import asyncio
import time
from array import array

EVERY_SECONDS = 0.01


class Effort:
    """The moments to look are fixed beforehand, as those of requests are: a loop that stalls is late for each of
    them, not once."""

    def __init__(self) -> None:
        self.lags = array("d")
        self.share = 0.0

    async def feel(self) -> None:
        """Until it is cancelled."""
        wall, cpu = time.perf_counter(), time.process_time()
        now, due = wall, wall + EVERY_SECONDS
        while True:
            await asyncio.sleep(due - now)
            now = time.perf_counter()
            due = self.woke(due, now)
            self.share = (time.process_time() - cpu) / (now - wall)

    def woke(self, due: float, now: float) -> float:
        """Notes every moment that has passed, the one of `due` in any case. Returns the next."""
        while True:
            self.lags.append(max(0.0, now - due))
            due += EVERY_SECONDS
            if due > now:
                return due
