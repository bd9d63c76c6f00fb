"""What a process of the generator has measured, in a form that can be added to what others have."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from loadtest.load.calls import PlaceOrder
from loadtest.load.effort import Effort
from loadtest.load.histogram import Histogram
from loadtest.load.journeys import Journeys
from loadtest.load.messages import Bin, Result
from loadtest.load.traffic import Traffic
from loadtest.load.users import User

BINS_LIMIT = 240
TO_201, TO_FINAL, TO_TOAST = "to 201", "to final status", "to toast"


def bin_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds / BINS_LIMIT))


class _Bin:
    def __init__(self) -> None:
        self.accepted = self.told = 0
        self.to_201, self.to_toast = Histogram(digits=2), Histogram(digits=2)

    def encoded(self) -> Bin:
        return Bin(self.accepted, self.told, self.to_201.encoded(), self.to_toast.encoded())


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

    def add(self, order: PlaceOrder, told: float | None) -> None:
        due = self.at(order.due)
        self.at(order.done).accepted += 1
        due.to_201.record(order.done - order.due)
        if told is not None:
            self.at(told).told += 1
            due.to_toast.record(told - order.due)

    def encoded(self) -> list[Bin]:
        return [one.encoded() for one in self._bins]


def result(
    start: float, seconds: float, traffic: Traffic, users: Sequence[User], journeys: Journeys, effort: Effort
) -> Result:
    """Without errors and verdicts, which settling adds to. It may run beside the loop, which adds what is late."""
    orders = traffic.accepted
    told = [order.user.told.get(order.id) for order in orders]
    timeline = Timeline(start, bin_seconds(seconds))
    for order, at in zip(orders, told, strict=True):
        timeline.add(order, at)
    return Result(
        orders=Counter(order.kind for order in orders),
        last_answer=max((order.done for order in orders), default=start),
        last_toast=max((at for at in told if at), default=start),
        times=_encoded(_times(orders, told, journeys)),
        hops=_encoded(dict(journeys.legs)),
        requests=_encoded({str(kind): took for kind, took in traffic.took.items() if took}),
        timeline=timeline.encoded(),
        sockets=Counter(page.replica for user in users for page in user.pages),
        deliveries=_deliveries(users),
        clocks_off=journeys.off((order.id, order.sent, order.done) for order in orders),
        share=effort.share,
        lag=Histogram(effort.lags).encoded(),
        sent_late=Histogram(traffic.late).encoded(),
    )


def _times(
    orders: Sequence[PlaceOrder], told: Sequence[float | None], journeys: Journeys
) -> dict[str, Iterable[float]]:
    final = journeys.final
    return {
        TO_201: (order.done - order.due for order in orders),
        TO_FINAL: (final[order.id] - order.due for order in orders if order.id in final),
        TO_TOAST: (at - order.due for order, at in zip(orders, told, strict=True) if at),
    }


def _encoded(times: Mapping[str, Iterable[float]]) -> dict[str, str]:
    return {name: Histogram(of).encoded() for name, of in times.items()}


def _deliveries(users: Sequence[User]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for user in users:
        for page in user.pages:
            counts[page.replica] += len(page.toasts)
    return counts
