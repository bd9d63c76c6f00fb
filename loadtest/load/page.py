"""A report as one HTML file that needs no other."""

import string
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

import msgspec

from loadtest.load.checks import CheckResult
from loadtest.load.comparison import changed
from loadtest.load.report import Report
from loadtest.load.tables import Table, comparison, generator, headline, tables

TEMPLATE = string.Template((Path(__file__).parent / "page.html").read_text())


def page(report: Report, plots: Sequence[str], before: Report | None) -> str:
    return filled(headline(report), _body(report, plots, before))


def filled(title: str, body: Iterable[str]) -> str:
    return TEMPLATE.substitute(title=escape(title), body="\n".join(body))


def _body(report: Report, plots: Sequence[str], before: Report | None) -> Iterator[str]:
    yield (
        paragraph("Every verdict is ok.", "ok") if report.holds else paragraph("Not every verdict is ok.", "broken")
    )
    yield from (paragraph(f"Doubt: {doubt}", "doubt") for doubt in report.doubts)
    yield from (_offenders(verdict) for verdict in report.verdicts if not verdict.holds)
    yield from map(table, tables(report))
    yield paragraph(generator(report))
    yield from plots
    if before:
        yield f"<h2>Beside the load of {before.started:%Y-%m-%d %H:%M} UTC</h2>"
        yield from (paragraph(f"Not the same: {change}", "doubt") for change in changed(before, report))
        yield table(comparison(before, report))
    yield "<h2>What was asked for, and of what</h2>"
    yield table(_conditions(report))


def table(given: Table) -> str:
    head = "".join(f"<th>{escape(column)}" for column in given.columns)
    rows = ("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in given.rows)
    return f"<table><tr>{head}\n" + "\n".join(rows) + "</table>"


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>'


def _offenders(verdict: CheckResult) -> str:
    rows = "\n".join(msgspec.json.encode(row).decode() for row in verdict.rows)
    words = f"{verdict.name}: {verdict.statement} Offenders: {verdict.offenders:,}, the first of them:"
    return paragraph(words, "broken") + f"<pre>{escape(rows)}</pre>"


def _conditions(report: Report) -> Table:
    told = (report.parameters, report.machine)
    rows = [(name, str(value)) for one in told for name, value in msgspec.structs.asdict(one).items()]
    rows += [(f"{name} replicas", str(count)) for name, count in report.replicas.items()]
    rows += report.versions.items()
    return Table(("", ""), [("started", f"{report.started:%Y-%m-%d %H:%M:%S} UTC"), *rows])
