"""When what is sent: a plan that does not look at the answers.

Users do not wait for each other, so requests arrive as a Poisson process. A latency is counted from the moment
that the plan names. A shop that stops for a second is then charged with all the requests of that second, while a
generator that waits for an answer before it sends on would not even notice ("coordinated omission").
"""

import random
from collections.abc import Iterator
from enum import StrEnum

from loadtest.load.parameters import Parameters


class Kind(StrEnum):
    """What is asked of the shop. The orders' kinds differ in how the order must end."""

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
    """How many of each kind there are an order."""
    declined, reads = parameters.declined / 2, parameters.reads / len(READS)
    return {
        Kind.PAID: 1 - parameters.declined,
        Kind.TOO_EXPENSIVE: declined,
        Kind.NO_ACCOUNT: declined,
        Kind.TOP_UP: parameters.top_ups,
        **dict.fromkeys(READS, reads),
    }


def kinds(parameters: Parameters, chance: random.Random) -> Iterator[Kind]:
    """Without end."""
    weighted = weights(parameters)
    while True:
        yield from chance.choices(list(weighted), list(weighted.values()), k=1000)


def arrivals(parameters: Parameters, chance: random.Random) -> Iterator[tuple[float, Kind]]:
    """What is to be sent, and how many seconds after the start.

    Several processes with a part of the rate each make together what one makes with all of it: Poisson processes
    add up to one.
    """
    rate = parameters.rate * sum(weights(parameters).values())
    at = chance.expovariate(rate)
    for kind in kinds(parameters, chance):
        if at >= parameters.seconds:
            return
        yield at, kind
        at += chance.expovariate(rate)
