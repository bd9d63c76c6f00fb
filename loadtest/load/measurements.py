"""The measurements of a generator process, in a form that can be merged with measurements of other processes."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from loadtest.load.calls import PlaceOrder
from loadtest.load.generator_usage import GeneratorUsage
from loadtest.load.histogram import Histogram
from loadtest.load.journeys import Journeys
from loadtest.load.messages import Bin, Result
from loadtest.load.traffic import Traffic
from loadtest.load.users import User

BINS_LIMIT = 240
TO_201, TO_FINAL, TO_TOAST = "to 201", "to final status", "to toast"


def bin_seconds(seconds: float) -> int:
    """Returns the width of a bin: the fewest whole seconds that divide the load into at most BINS_LIMIT bins."""
    return max(1, math.ceil(seconds / BINS_LIMIT))


class _Bin:
    def __init__(self) -> None:
        self.accepted = self.toasted = 0
        self.to_201, self.to_toast = Histogram(digits=2), Histogram(digits=2)

    def encoded(self) -> Bin:
        return Bin(self.accepted, self.toasted, self.to_201.encoded(), self.to_toast.encoded())


class Timeline:
    def __init__(self, start: float, width: int) -> None:
        self._start = start
        self._width = width
        self._bins: list[_Bin] = []

    def at(self, moment: float) -> _Bin:
        number = max(0, int((moment - self._start) / self._width))
        while len(self._bins) <= number:
            self._bins.append(_Bin())
        return self._bins[number]

    def add(self, order: PlaceOrder, toasted_at: float | None) -> None:
        """Counts the response and the toast at their own times, and the latencies at the time the order was due."""
        due = self.at(order.due)
        self.at(order.done).accepted += 1
        due.to_201.record(order.done - order.due)
        if toasted_at is not None:
            self.at(toasted_at).toasted += 1
            due.to_toast.record(toasted_at - order.due)

    def encoded(self) -> list[Bin]:
        return [one.encoded() for one in self._bins]


def result(
    start: float, seconds: float, traffic: Traffic, users: Sequence[User], journeys: Journeys, usage: GeneratorUsage
) -> Result:
    """Returns the result without errors and verdicts, which are known only after settling.

    It can run in a thread beside the event loop, which may still record late toasts.
    """
    orders = traffic.accepted
    toasted_at = [order.user.toasted_at.get(order.id) for order in orders]
    timeline = Timeline(start, bin_seconds(seconds))
    for order, at in zip(orders, toasted_at, strict=True):
        timeline.add(order, at)
    return Result(
        orders=Counter(order.kind for order in orders),
        last_answer=max((order.done for order in orders), default=start),
        last_toast=max((at for at in toasted_at if at), default=start),
        times=_encoded(_times(orders, toasted_at, journeys)),
        hops=_encoded(dict(journeys.hop_seconds)),
        requests=_encoded({str(kind): times for kind, times in traffic.durations.items() if times}),
        timeline=timeline.encoded(),
        sockets=Counter(page.replica for user in users for page in user.pages),
        deliveries=_deliveries(users),
        clocks_off=journeys.clocks_off((order.id, order.sent, order.done) for order in orders),
        share=usage.share,
        lag=Histogram(usage.lags).encoded(),
        sent_late=Histogram(traffic.send_delays).encoded(),
    )


def _times(
    orders: Sequence[PlaceOrder], toasted_at: Sequence[float | None], journeys: Journeys
) -> dict[str, Iterable[float]]:
    final = journeys.final
    return {
        TO_201: (order.done - order.due for order in orders),
        TO_FINAL: (final[order.id] - order.due for order in orders if order.id in final),
        TO_TOAST: (at - order.due for order, at in zip(orders, toasted_at, strict=True) if at),
    }


def _encoded(times: Mapping[str, Iterable[float]]) -> dict[str, str]:
    return {name: Histogram(of).encoded() for name, of in times.items()}


def _deliveries(users: Sequence[User]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for user in users:
        for page in user.pages:
            counts[page.replica] += len(page.toasts)
    return counts
