"""Makes one report of what the processes of the generator have found and of what was seen on the machine."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, zip_longest

from loadtest.load.checks import CheckResult
from loadtest.load.figures import TO_TOAST, bin_seconds
from loadtest.load.histogram import Figures, together
from loadtest.load.machine import Look, this_machine, this_python
from loadtest.load.messages import Bin, Result
from loadtest.load.parameters import Parameters
from loadtest.load.report import EVERYTHING_ELSE, Generator, Moment, Process, Report, Shares, service_of

# Of a shorter time, ticks of 10 ms tell nothing.
SHORTEST = 0.5


def summary(parameters: Parameters, start: float, results: Sequence[Result], looks: Sequence[Look]) -> Report:
    def a_second(count: int, last: float) -> float:
        return count / (last - start) if count else 0.0

    orders = _counted([result.orders for result in results])
    accepted = sum(orders.values())
    times = _together([result.times for result in results])
    return Report(
        started=datetime.now(UTC) - timedelta(seconds=time.perf_counter() - start),
        parameters=parameters,
        machine=this_machine(),
        versions=this_python(),
        orders=orders,
        accepted_a_second=a_second(accepted, max(result.last_answer for result in results)),
        told_a_second=a_second(times[TO_TOAST].count, max(result.last_toast for result in results)),
        times=times,
        hops=_together([result.hops for result in results]),
        requests=_together([result.requests for result in results]),
        sockets=_counted([result.sockets for result in results]),
        deliveries=_counted([result.deliveries for result in results]),
        clocks_off_ms=max(result.clocks_off for result in results) * 1000,
        errors=_counted([result.errors for result in results]),
        generator=Generator(
            [result.share for result in results],
            together([result.lag for result in results]).figures(),
            together([result.sent_late for result in results]).figures(),
        ),
        timeline=list(_timeline(results, bin_seconds(parameters.seconds))),
        processes=list(_processes(looks, accepted)),
        cpu=list(_shares(looks, start)),
        verdicts=_verdicts(results),
    )


def _counted(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _together(times: Sequence[Mapping[str, str]]) -> dict[str, Figures]:
    names = dict.fromkeys(name for one in times for name in one)
    return {name: together([one[name] for one in times if name in one]).figures() for name in names}


def _timeline(results: Sequence[Result], width: int) -> Iterator[Moment]:
    for number, bins in enumerate(zip_longest(*(result.timeline for result in results))):
        found: list[Bin] = [one for one in bins if one]
        yield Moment(
            number * width,
            sum(one.accepted for one in found) / width,
            sum(one.told for one in found) / width,
            together([one.to_201 for one in found]).figures(whole=False),
            together([one.to_toast for one in found]).figures(whole=False),
        )


def _verdicts(results: Sequence[Result]) -> list[CheckResult]:
    first, *others = results
    for other in others:
        for verdict, more in zip(first.verdicts, other.verdicts, strict=True):
            verdict.add(more)
    return first.verdicts


def _processes(looks: Sequence[Look], accepted: int) -> Iterator[Process]:
    if not looks:
        return
    wall = looks[-1].at - looks[0].at
    for name, seconds in _taken(looks[0], looks[-1]).items():
        yield Process(name, seconds / wall, seconds / accepted * 1e6 if accepted else 0.0)


def _shares(looks: Sequence[Look], start: float) -> Iterator[Shares]:
    for before, after in pairwise(looks):
        if after.at - before.at < SHORTEST:
            continue
        services: dict[str, float] = {}
        for name, seconds in _taken(before, after).items():
            service = service_of(name)
            services[service] = services.get(service, 0.0) + seconds / (after.at - before.at)
        yield Shares(after.at - start, services)


def _taken(before: Look, after: Look) -> dict[str, float]:
    """Seconds of a core of every program, and of everything else on the machine."""
    taken = {name: after.programs[name].cpu - before.programs[name].cpu for name in before.programs}
    return taken | {EVERYTHING_ELSE: max(0.0, after.busy - before.busy - sum(taken.values()))}
