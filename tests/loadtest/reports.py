"""A report of nothing, for tests that say what is in it."""

from datetime import UTC, datetime
from typing import Any

from loadtest.load.histogram import Histogram
from loadtest.load.machine import Machine
from loadtest.load.parameters import Parameters
from loadtest.load.report import Generator, Report

NEVER = Histogram().figures()


def report(**given: Any) -> Report:
    """On a machine of two cores, by one process of the generator that took half of one."""
    names = "orders", "times", "hops", "requests", "sockets", "deliveries", "errors", "versions"
    empty: dict[str, Any] = {name: {} for name in names}
    nothing: dict[str, Any] = {
        "started": datetime.now(UTC),
        "parameters": Parameters(),
        "machine": Machine("a machine", 2, 8.0, "Linux"),
        "accepted_a_second": 0.0,
        "told_a_second": 0.0,
        "clocks_off_ms": 0.0,
        "generator": Generator([0.5], NEVER, NEVER),
        "timeline": [],
        "verdicts": [],
    }
    return Report(**empty | nothing | given)
