"""The comparison of a report with an earlier one."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from loadtest.load.measurements import TO_201, TO_FINAL, TO_TOAST
from loadtest.load.report import Report

# These parameters can differ between two comparable loads: chance, and the places of the shop and the reports.
IGNORED_PARAMETERS = {"seed", "compare", "dir", "reports", "url"}


class ComparedFigure(NamedTuple):
    name: str
    before: float
    now: float

    @property
    def ratio(self) -> float | None:
        return self.now / self.before if self.before else None


def compared(before: Report, now: Report) -> list[ComparedFigure]:
    old = dict(_figures(before))
    return [ComparedFigure(name, old[name], figure) for name, figure in _figures(now) if name in old]


def changed(before: Report, now: Report) -> list[str]:
    """Returns the differences of parameters, replicas, versions and machine, one line each.

    If there is any, the shop alone does not explain the ratios.
    """
    old, new = _conditions(before), _conditions(now)
    return [
        f"{name}: {old.get(name, 'none')}, now {new.get(name, 'none')}"
        for name in old | new
        if old.get(name) != new.get(name)
    ]


def _figures(report: Report) -> Iterator[tuple[str, float]]:
    yield "accepted, orders/s", report.accepted_a_second
    yield "toasted, orders/s", report.told_a_second
    for name in (TO_201, TO_FINAL, TO_TOAST):
        if times := report.times.get(name):
            yield f"{name}, p50 ms", times.p50
            yield f"{name}, p90 ms", times.p90
            yield f"{name}, p99 ms", times.p99
    for service, _ in report.services():
        yield f"{service.name}, µs per order", service.us_an_order


def _conditions(report: Report) -> dict[str, Any]:
    parameters = msgspec.structs.asdict(report.parameters)
    compared = {name: value for name, value in parameters.items() if name not in IGNORED_PARAMETERS}
    replicas = {f"{service} replicas": count for service, count in report.replicas.items()}
    machine = msgspec.structs.asdict(report.machine)
    return compared | replicas | report.versions | machine
