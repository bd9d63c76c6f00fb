"""Merges the results of the worker processes and the samples of the machine into one report."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, zip_longest

from loadtest.load.checks import CheckResult
from loadtest.load.histogram import Figures, merge
from loadtest.load.machine import Sample, this_machine, this_python
from loadtest.load.measurements import TO_TOAST, bin_seconds
from loadtest.load.messages import Bin, Result
from loadtest.load.parameters import Parameters
from loadtest.load.report import EVERYTHING_ELSE, Generator, Moment, Process, Report, Shares, service_of

# The kernel counts processor time in ticks of 10 ms, which are too coarse for shorter times.
SHORTEST_SECONDS = 0.5


def summary(parameters: Parameters, start: float, results: Sequence[Result], samples: Sequence[Sample]) -> Report:
    def per_second(count: int, last: float) -> float:
        return count / (last - start) if count else 0.0

    orders = _counted([result.orders for result in results])
    accepted = sum(orders.values())
    times = _merged_times([result.times for result in results])
    return Report(
        started=datetime.now(UTC) - timedelta(seconds=time.perf_counter() - start),
        parameters=parameters,
        machine=this_machine(),
        versions=this_python(),
        orders=orders,
        accepted_a_second=per_second(accepted, max(result.last_answer for result in results)),
        told_a_second=per_second(times[TO_TOAST].count, max(result.last_toast for result in results)),
        times=times,
        hops=_merged_times([result.hops for result in results]),
        requests=_merged_times([result.requests for result in results]),
        sockets=_counted([result.sockets for result in results]),
        deliveries=_counted([result.deliveries for result in results]),
        clocks_off_ms=max(result.clocks_off for result in results) * 1000,
        errors=_counted([result.errors for result in results]),
        generator=Generator(
            [result.share for result in results],
            merge([result.lag for result in results]).figures(),
            merge([result.sent_late for result in results]).figures(),
        ),
        timeline=list(_timeline(results, bin_seconds(parameters.seconds))),
        processes=list(_processes(samples, accepted)),
        cpu=list(_shares(samples, start)),
        verdicts=_verdicts(results),
    )


def _counted(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _merged_times(times: Sequence[Mapping[str, str]]) -> dict[str, Figures]:
    names = dict.fromkeys(name for one in times for name in one)
    return {name: merge([one[name] for one in times if name in one]).figures() for name in names}


def _timeline(results: Sequence[Result], width: int) -> Iterator[Moment]:
    for number, bins in enumerate(zip_longest(*(result.timeline for result in results))):
        found: list[Bin] = [one for one in bins if one]
        yield Moment(
            number * width,
            sum(one.accepted for one in found) / width,
            sum(one.toasted for one in found) / width,
            merge([one.to_201 for one in found]).figures(whole=False),
            merge([one.to_toast for one in found]).figures(whole=False),
        )


def _verdicts(results: Sequence[Result]) -> list[CheckResult]:
    first, *others = results
    for other in others:
        for verdict, more in zip(first.verdicts, other.verdicts, strict=True):
            verdict.add(more)
    return first.verdicts


def _processes(samples: Sequence[Sample], accepted: int) -> Iterator[Process]:
    if not samples:
        return
    wall = samples[-1].at - samples[0].at
    for name, seconds in _cpu_seconds(samples[0], samples[-1]).items():
        yield Process(name, seconds / wall, seconds / accepted * 1e6 if accepted else 0.0)


def _shares(samples: Sequence[Sample], start: float) -> Iterator[Shares]:
    for before, after in pairwise(samples):
        if after.at - before.at < SHORTEST_SECONDS:
            continue
        services: dict[str, float] = {}
        for name, seconds in _cpu_seconds(before, after).items():
            service = service_of(name)
            services[service] = services.get(service, 0.0) + seconds / (after.at - before.at)
        yield Shares(after.at - start, services)


def _cpu_seconds(before: Sample, after: Sample) -> dict[str, float]:
    """Returns the seconds of a core that every program, and everything else on the machine, took in between."""
    seconds = {name: after.programs[name].cpu - before.programs[name].cpu for name in before.programs}
    return seconds | {EVERYTHING_ELSE: max(0.0, after.busy - before.busy - sum(seconds.values()))}
