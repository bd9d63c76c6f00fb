"""How long orders took from hop to hop, from the journeys in their frames."""

import time
from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise

from loadtest.load.frames import FrameHop

ACCEPTED, UPDATED = "accepted", "updated"


class Journeys:
    """Times of replicas are turned into those of `time.perf_counter`, as if they had the clock of this machine."""

    def __init__(self) -> None:
        self._offset = time.time() - time.perf_counter()
        self.legs: dict[str, array[float]] = {}
        self.accepted: dict[str, float] = {}
        self.final: dict[str, float] = {}

    def note(self, order_id: str, journey: Sequence[FrameHop], toast: float) -> None:
        """`toast` is when its first frame came."""
        times = [(hop.hop, hop.at.timestamp() - self._offset) for hop in journey]
        if not times or times[0][0] != ACCEPTED or times[-1][0] != UPDATED:
            return
        self.accepted[order_id], self.final[order_id] = times[0][1], times[-1][1]
        for (_, before), (hop, at) in pairwise([*times, ("toast", toast)]):
            self.legs.setdefault(hop, array("d")).append(at - before)

    def off(self, orders: Iterable[tuple[str, float, float]]) -> float:
        """By how much clocks differ at least: an order is accepted between its being sent and its answer."""
        accepted = ((self.accepted[order], sent, done) for order, sent, done in orders if order in self.accepted)
        return max((max(sent - at, at - done) for at, sent, done in accepted), default=0.0)
