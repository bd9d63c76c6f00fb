"""An empty report, whose fields a test can set."""

from datetime import UTC, datetime
from typing import Any

from loadtest.load.histogram import Histogram
from loadtest.load.machine import Machine
from loadtest.load.parameters import Parameters
from loadtest.load.report import Generator, Report

NO_TIMES = Histogram().figures()


def report(**given: Any) -> Report:
    """Returns a report of a machine with two cores, where the only generator process took half a core."""
    names = "orders", "times", "hops", "requests", "sockets", "deliveries", "errors", "versions"
    empty: dict[str, Any] = {name: {} for name in names}
    defaults: dict[str, Any] = {
        "started": datetime.now(UTC),
        "parameters": Parameters(),
        "machine": Machine("a machine", 2, 8.0, "Linux"),
        "accepted_a_second": 0.0,
        "told_a_second": 0.0,
        "clocks_off_ms": 0.0,
        "generator": Generator([0.5], NO_TIMES, NO_TIMES),
        "timeline": [],
        "verdicts": [],
    }
    return Report(**empty | defaults | given)
