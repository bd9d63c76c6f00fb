"""Measures how late the event loop of a generator process is, and which share of a core the process takes."""

import asyncio
import time
from array import array

INTERVAL_SECONDS = 0.01


class GeneratorUsage:
    """`lags` are the delays of the event loop in seconds, `share` is the share of a core.

    The times of measurement are fixed in advance, like the times of requests. A stalled loop is therefore late for
    every time that it missed, not only for one.
    """

    def __init__(self) -> None:
        self.lags = array("d")
        self.share = 0.0

    async def measure(self) -> None:
        """Measures until it is cancelled."""
        wall, cpu = time.perf_counter(), time.process_time()
        now, due = wall, wall + INTERVAL_SECONDS
        while True:
            await asyncio.sleep(due - now)
            now = time.perf_counter()
            due = self.record_wakeup(due, now)
            self.share = (time.process_time() - cpu) / (now - wall)

    def record_wakeup(self, due: float, now: float) -> float:
        """Records a lag for `due` and for every later time that has passed. Returns the next time.

        If the loop woke early, the lag of `due` is 0.
        """
        while True:
            self.lags.append(max(0.0, now - due))
            due += INTERVAL_SECONDS
            if due > now:
                return due
