"""The times of orders from hop to hop, from the journeys in their WebSocket frames."""

import time
from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise

from loadtest.load.frames import FrameHop

ACCEPTED, UPDATED = "accepted", "updated"


class Journeys:
    """The journeys of all orders: `hop_seconds` since the previous hop, and the times of the first and last hop.

    The replicas' wall-clock times are converted to `time.perf_counter`, as if all clocks were this machine's clock.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.perf_counter()
        self.hop_seconds: dict[str, array[float]] = {}
        self.accepted: dict[str, float] = {}
        self.final: dict[str, float] = {}

    def record(self, order_id: str, journey: Sequence[FrameHop], toasted_at: float) -> None:
        """Ignores a journey without its first or last hop. `toasted_at` is the time of the order's first frame."""
        times = [(hop.hop, hop.at.timestamp() - self._offset) for hop in journey]
        if not times or times[0][0] != ACCEPTED or times[-1][0] != UPDATED:
            return
        self.accepted[order_id], self.final[order_id] = times[0][1], times[-1][1]
        for (_, before), (hop, at) in pairwise([*times, ("toast", toasted_at)]):
            self.hop_seconds.setdefault(hop, array("d")).append(at - before)

    def clocks_off(self, orders: Iterable[tuple[str, float, float]]) -> float:
        """Returns by how many seconds the shop's clocks differ from this machine's at least.

        An order is accepted between its request and its response. A hop `accepted` outside of that time shows a
        difference. `orders` are ids with the times of request and response.
        """
        accepted = ((self.accepted[order], sent, done) for order, sent, done in orders if order in self.accepted)
        return max((max(sent - at, at - done) for at, sent, done in accepted), default=0.0)
