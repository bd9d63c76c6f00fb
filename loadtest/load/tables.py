"""The sentences and tables of a report, for the terminal and the HTML file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from loadtest.load.checks import CheckResult
from loadtest.load.comparison import compared
from loadtest.load.histogram import Figures
from loadtest.load.measurements import TO_TOAST
from loadtest.load.report import Report
from loadtest.load.trend import Series, rise


class Table(NamedTuple):
    """A table whose first column is text. All other columns are numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def headline(report: Report) -> str:
    parameters = report.parameters
    in_flight, rate = f"{parameters.in_flight} in flight", f"{parameters.rate:g} orders/s planned"
    return (
        f"{report.accepted:,} orders in {parameters.seconds:g} s from {parameters.users:,} users "
        f"with {sum(report.sockets.values()):,} sockets, {in_flight if parameters.in_flight else rate}, "
        f"seed {parameters.seed}"
    )


def generator_sentences(report: Report) -> str:
    """Returns how busy and how late the generator was. If it was neither, the report measures the shop."""
    generator = report.generator
    lag, sent_late = generator.lag, generator.sent_late
    shares = " ".join(f"{share:.0%}" for share in generator.shares)
    return (
        f"The generator took {shares} of a core. "
        f"Its event loop was {lag.p50:.1f} ms (p50) and {lag.p99:.1f} ms (p99) late. "
        f"Its requests were sent {sent_late.p50:.1f} ms (p50) and {sent_late.p99:.1f} ms (p99) late."
    )


def tables(report: Report) -> Iterator[Table]:
    yield _throughput(report)
    yield _latencies("ms since the planned moment", report.times | report.requests)
    yield _latencies("ms since the previous hop", report.hops)
    yield _deliveries(report)
    yield _services(report)
    if report.series:
        yield _trends(report.series)
    if report.errors:
        yield Table(("error", "count"), [(name, f"{count:,}") for name, count in report.errors.items()])
    yield _verdicts(report)


def comparison(before: Report, now: Report) -> Table:
    return Table(
        ("comparison", "before", "now", "ratio"),
        [
            (row.name, f"{row.before:,.1f}", f"{row.now:,.1f}", f"{row.ratio:.2f}" if row.ratio else "")
            for row in compared(before, now)
        ],
    )


def _throughput(report: Report) -> Table:
    kinds = [(f"  {kind}", f"{count:,}", "") for kind, count in report.orders.items()]
    toasted = report.times[TO_TOAST].count
    return Table(
        ("", "orders", "orders/s"),
        [
            ("accepted", f"{report.accepted:,}", f"{report.accepted_a_second:,.1f}"),
            *kinds,
            ("toasted", f"{toasted:,}", f"{report.told_a_second:,.1f}"),
        ],
    )


def _latencies(title: str, times: Mapping[str, Figures]) -> Table:
    return Table(
        (title, "count", "p50", "p90", "p99", "max"),
        [
            (name, f"{of.count:,}", *(f"{ms:,.1f}" for ms in (of.p50, of.p90, of.p99, of.max)))
            for name, of in times.items()
        ],
    )


def _deliveries(report: Report) -> Table:
    total = sum(report.deliveries.values()) or 1
    return Table(
        ("replica", "sockets", "toasts", "share"),
        [
            (name, f"{report.sockets[name]:,}", f"{count:,}", f"{count / total:.0%}")
            for name, count in report.deliveries.items()
        ],
    )


def _services(report: Report) -> Table:
    return Table(
        ("service", "of a core", "µs per order", "of a core, each process"),
        [
            (one.name, f"{one.share:.0%}", f"{one.us_an_order:,.0f}", " ".join(f"{s:.0%}" for s in shares))
            for one, shares in report.services()
        ],
    )


def _trends(series: Sequence[Series]) -> Table:
    return Table(
        ("over time", "after a third", "at the end", "rises by", "may rise by"),
        [
            (
                f"{one.what}: {one.name}",
                f"{one.values[len(one.values) // 3]:,.1f}",
                f"{one.values[-1]:,.1f}",
                f"{rise(one):,.1f}",
                "" if one.most is None else f"{one.most:,.1f}",
            )
            for one in series
        ],
    )


def _verdicts(report: Report) -> Table:
    return Table(
        ("verdict", "looked at", "outcome"),
        [(one.name, f"{one.looked_at:,}", _outcome(one)) for one in report.verdicts],
    )


def _outcome(verdict: CheckResult) -> str:
    if not verdict.looked_at:
        return "NOTHING CHECKED"
    return "ok" if verdict.holds else f"{verdict.offenders:,} OFFENDERS"
