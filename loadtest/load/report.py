"""Everything that a load has found, in one structure: report.json holds it, all else shows it."""

from collections import defaultdict
from datetime import datetime
from pathlib import Path

import msgspec

from loadtest.load.checks import CheckResult
from loadtest.load.histogram import Figures
from loadtest.load.machine import Machine
from loadtest.load.parameters import Failed, Parameters
from loadtest.load.trend import Series

SCHEMA = 1
"""Grows when a field goes or changes its meaning, not when one is added."""

GENERATOR = "generator"
EVERYTHING_ELSE = "everything else"
"""What the machine did beside the shop and the generator."""


class Moment(msgspec.Struct, frozen=True):
    """Some seconds of the load; the times are those of the orders that were due in them."""

    second: float
    accepted_a_second: float
    told_a_second: float
    to_201: Figures
    to_toast: Figures


class Process(msgspec.Struct, frozen=True):
    """`share` is of one core. The microseconds are divided by all accepted orders, and include their reads."""

    name: str
    share: float
    us_an_order: float


def service_of(name: str) -> str:
    """Replicas are numbered: the service of notifier-2 is notifier."""
    return name.partition("-")[0]


class Shares(msgspec.Struct, frozen=True):
    """What each service took of a core in the time before this second."""

    second: float
    services: dict[str, float]


class Generator(msgspec.Struct, frozen=True):
    """The share of a core that each process took while it sent, how late its loop was, and its requests."""

    shares: list[float]
    lag: Figures
    sent_late: Figures


class Report(msgspec.Struct, kw_only=True):
    """`times` are of orders from the moment they were due, `requests` of other requests, and `hops` from the one
    before in the journey. The shop's clocks are off by `clocks_off_ms` at least; what takes two is no better."""

    schema: int = SCHEMA
    started: datetime
    parameters: Parameters
    machine: Machine
    versions: dict[str, str]
    replicas: dict[str, int] = {}
    orders: dict[str, int]
    accepted_a_second: float
    told_a_second: float
    times: dict[str, Figures]
    hops: dict[str, Figures]
    requests: dict[str, Figures]
    sockets: dict[str, int]
    deliveries: dict[str, int]
    errors: dict[str, int]
    clocks_off_ms: float
    generator: Generator
    timeline: list[Moment]
    processes: list[Process] = []
    cpu: list[Shares] = []
    series: list[Series] = []
    verdicts: list[CheckResult]
    doubts: list[str] = []

    @property
    def accepted(self) -> int:
        return sum(self.orders.values())

    @property
    def holds(self) -> bool:
        return all(verdict.holds for verdict in self.verdicts)

    @property
    def us_an_order(self) -> float:
        """Of the shop: all but what made the load, and what has nothing to do with it."""
        return sum(one.us_an_order for one in self.processes if one.name not in (GENERATOR, EVERYTHING_ELSE))

    def services(self) -> list[tuple[Process, list[float]]]:
        """The processes of each together, and the share of each process; the most expensive first."""
        by_service: defaultdict[str, list[Process]] = defaultdict(list)
        for one in self.processes:
            by_service[service_of(one.name)].append(one)
        together = [
            (Process(name, sum(one.share for one in of), sum(one.us_an_order for one in of)), [p.share for p in of])
            for name, of in by_service.items()
        ]
        return sorted(together, key=lambda pair: (pair[0].name == EVERYTHING_ELSE, -pair[0].share))


def write(report: Report, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def read(path: Path) -> Report:
    """Raises Failed for what is not a report of this schema."""
    try:
        text = path.read_bytes()
        schema = msgspec.json.decode(text)["schema"]
        if schema != SCHEMA:
            raise Failed(f"{path} is a report of schema {schema}, and this reads {SCHEMA}")
        return msgspec.json.decode(text, type=Report)
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise Failed(f"{path} is not a report: {error}") from error
