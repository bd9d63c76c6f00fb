"""Reasons to distrust the figures of a report."""

from collections.abc import Iterator

from loadtest.load.measurements import TO_FINAL
from loadtest.load.report import EVERYTHING_ELSE, Report

# A busier generator process has no room for a burst.
CORE_SHARE_LIMIT = 0.7
LATE_LIMIT_MS = 20.0
OTHER_PROGRAMS_LIMIT = 0.1
BEHIND_LIMIT_SECONDS = 1.0
# Journeys have microseconds, and the clocks of one machine agree better than this.
CLOCKS_OFF_LIMIT_MS = 5.0


def failed_self_checks(report: Report) -> list[str]:
    """Returns a sentence for each reason to distrust the figures."""
    return list(_failed_self_checks(report))


def _failed_self_checks(report: Report) -> Iterator[str]:
    generator, parameters = report.generator, report.parameters
    busiest = max(generator.shares)
    if busiest > CORE_SHARE_LIMIT:
        yield f"a process of the generator took {busiest:.0%} of a core: use more processes (PROCESSES=n)"
    if generator.lag.p99 > LATE_LIMIT_MS:
        yield f"the generator's event loop was {generator.lag.p99:.0f} ms late (p99), and latencies include that"
    if generator.sent_late.p99 > LATE_LIMIT_MS:
        yield f"requests were sent {generator.sent_late.p99:.0f} ms late (p99), and latencies include that"
    others = sum(one.share for one in report.processes if one.name == EVERYTHING_ELSE) / report.machine.cores
    # For a shop elsewhere there are no replicas here. EVERYTHING_ELSE can then include the shop itself.
    if report.replicas and others > OTHER_PROGRAMS_LIMIT:
        yield f"programs other than the shop and the generator took {others:.0%} of the machine"
    if len(report.sockets) < report.replicas.get("notifier", 0):
        yield f"only {', '.join(sorted(report.sockets))} had a socket: use more users (USERS=n)"
    if report.clocks_off_ms > CLOCKS_OFF_LIMIT_MS:
        yield f"the shop's clocks are off by {report.clocks_off_ms:.0f} ms or more, and so is {TO_FINAL}"
    took = report.accepted / report.accepted_a_second if report.accepted else 0.0
    if took > parameters.seconds + BEHIND_LIMIT_SECONDS:
        yield f"the shop fell behind: orders of {parameters.seconds:g} s were accepted in {took:.0f} s"
