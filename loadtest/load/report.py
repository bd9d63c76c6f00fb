"""All results of a load in one structure, which is saved as report.json and shown in other forms."""

from collections import defaultdict
from datetime import datetime
from pathlib import Path

import msgspec

from loadtest.load.checks import CheckResult
from loadtest.load.histogram import Figures
from loadtest.load.machine import Machine
from loadtest.load.parameters import LoadError, Parameters
from loadtest.load.trend import Series

SCHEMA = 1
"""Must be raised when a field is removed or changes its meaning, not when one is added."""

GENERATOR = "generator"
EVERYTHING_ELSE = "everything else"
"""The name of all other programs on the machine together."""


class Moment(msgspec.Struct, frozen=True):
    """A bin of the timeline, which starts at `second`. Latencies are of the orders that were due in it."""

    second: float
    accepted_a_second: float
    told_a_second: float
    to_201: Figures
    to_toast: Figures


class Process(msgspec.Struct, frozen=True):
    """The processor time of a program.

    `share` is its share of one core. `us_an_order` is its microseconds per accepted order, including the reads and
    top-ups of the load.
    """

    name: str
    share: float
    us_an_order: float


def service_of(name: str) -> str:
    """Returns the service of a replica, for example notifier for notifier-2."""
    return name.partition("-")[0]


class Shares(msgspec.Struct, frozen=True):
    """The share of a core that each service took between the previous sample and `second`."""

    second: float
    services: dict[str, float]


class Generator(msgspec.Struct, frozen=True):
    """The generator's own load: the share of a core of each process, and the delays of event loops and requests."""

    shares: list[float]
    lag: Figures
    sent_late: Figures


class Report(msgspec.Struct, kw_only=True):
    """The report of one load.

    `times` and `requests` are latencies of orders and of other requests since the planned moment. `hops` are times
    since the previous hop of the journey. The shop's clocks are off by at least `clocks_off_ms`, and so are all
    times that depend on two clocks.
    """

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
        """The microseconds per order of all parts of the shop."""
        return sum(one.us_an_order for one in self.processes if one.name not in (GENERATOR, EVERYTHING_ELSE))

    def services(self) -> list[tuple[Process, list[float]]]:
        """Returns each service's processes in one, with the share of each process. The most expensive is first."""
        by_service: defaultdict[str, list[Process]] = defaultdict(list)
        for one in self.processes:
            by_service[service_of(one.name)].append(one)
        totals = [
            (Process(name, sum(one.share for one in of), sum(one.us_an_order for one in of)), [p.share for p in of])
            for name, of in by_service.items()
        ]
        return sorted(totals, key=lambda pair: (pair[0].name == EVERYTHING_ELSE, -pair[0].share))


def write(report: Report, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def read(path: Path) -> Report:
    """Raises LoadError if the file is not a report of this schema."""
    try:
        text = path.read_bytes()
        schema = msgspec.json.decode(text)["schema"]
        if schema != SCHEMA:
            raise LoadError(f"{path} is a report of schema {schema}, but this version reads only schema {SCHEMA}")
        return msgspec.json.decode(text, type=Report)
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        raise LoadError(f"{path} is not a report: {error}") from error
