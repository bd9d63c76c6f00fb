"""Why one should not believe a report, or not all of it."""

from collections.abc import Iterator

from loadtest.load.figures import TO_FINAL
from loadtest.load.report import EVERYTHING_ELSE, Report

# A process that is so busy has no room for a burst.
BUSY = 0.7
LATE_MS = 20.0
OTHERS = 0.1
BEHIND_SECONDS = 1.0
# Journeys have microseconds, and the clocks of one machine agree better than this.
CLOCKS_OFF_MS = 5.0


def doubts(report: Report) -> list[str]:
    return list(_doubts(report))


def _doubts(report: Report) -> Iterator[str]:
    generator, parameters = report.generator, report.parameters
    busiest = max(generator.shares)
    if busiest > BUSY:
        yield f"a process of the generator took {busiest:.0%} of a core: take more of them (PROCESSES=n)"
    if generator.lag.p99 > LATE_MS:
        yield f"the generator's loop was {generator.lag.p99:.0f} ms late (p99), and latencies include that"
    if generator.sent_late.p99 > LATE_MS:
        yield f"requests were sent {generator.sent_late.p99:.0f} ms late (p99), and latencies include that"
    others = sum(one.share for one in report.processes if one.name == EVERYTHING_ELSE) / report.machine.cores
    if report.replicas and others > OTHERS:
        yield f"programs that have nothing to do with it took {others:.0%} of the machine"
    if len(report.sockets) < report.replicas.get("notifier", 0):
        yield f"only {', '.join(sorted(report.sockets))} had a socket at all: take more users"
    if report.clocks_off_ms > CLOCKS_OFF_MS:
        yield f"the shop's clocks are off by {report.clocks_off_ms:.0f} ms or more, and so is {TO_FINAL}"
    took = report.accepted / report.accepted_a_second if report.accepted else 0.0
    if took > parameters.seconds + BEHIND_SECONDS:
        yield f"the shop fell behind: orders of {parameters.seconds:g} s were accepted in {took:.0f} s"
