"""The plan of a load: the kinds and times of all requests, independent of the responses.

Users do not wait for each other, so requests arrive as a Poisson process. A latency counts from the planned time.
If the shop stops for a second, the latencies of all requests that were due in that second show it. A generator that
waits for a response before it sends the next request would hide the stop. That mistake is called "coordinated
omission".
"""

import random
from collections.abc import Iterator
from enum import StrEnum

from loadtest.load.parameters import Parameters


class Kind(StrEnum):
    """The kinds of requests. The first three are orders, which differ in the final status that they must reach."""

    PAID = "paid"
    TOO_EXPENSIVE = "too expensive"
    NO_ACCOUNT = "no account"
    TOP_UP = "top-up"
    SHOW_ORDER = "show order"
    LIST_ORDERS = "list orders"
    SHOW_BALANCE = "show balance"


ORDERS = (Kind.PAID, Kind.TOO_EXPENSIVE, Kind.NO_ACCOUNT)
READS = (Kind.SHOW_ORDER, Kind.LIST_ORDERS, Kind.SHOW_BALANCE)


def weights(parameters: Parameters) -> dict[Kind, float]:
    """Returns the mean number of requests of each kind per order."""
    declined, reads = parameters.declined / 2, parameters.reads / len(READS)
    return {
        Kind.PAID: 1 - parameters.declined,
        Kind.TOO_EXPENSIVE: declined,
        Kind.NO_ACCOUNT: declined,
        Kind.TOP_UP: parameters.top_ups,
        **dict.fromkeys(READS, reads),
    }


def kinds(parameters: Parameters, chance: random.Random) -> Iterator[Kind]:
    """Yields random kinds without end."""
    weighted = weights(parameters)
    while True:
        yield from chance.choices(list(weighted), list(weighted.values()), k=1000)


def arrivals(parameters: Parameters, chance: random.Random) -> Iterator[tuple[float, Kind]]:
    """Yields the requests of the load, each with its time in seconds after the start.

    Several processes can divide the rate among them, because the sum of Poisson processes is a Poisson process.
    """
    rate = parameters.rate * sum(weights(parameters).values())
    at = chance.expovariate(rate)
    for kind in kinds(parameters, chance):
        if at >= parameters.seconds:
            return
        yield at, kind
        at += chance.expovariate(rate)
