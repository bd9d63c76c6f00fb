"""A report as one self-contained HTML file."""

import string
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

import msgspec

from loadtest.load.checks import CheckResult
from loadtest.load.comparison import changed
from loadtest.load.report import Report
from loadtest.load.tables import Table, comparison, generator_sentences, headline, tables

TEMPLATE = string.Template((Path(__file__).parent / "html_report.html").read_text())


def page(report: Report, plots: Sequence[str], before: Report | None) -> str:
    return fill_template(headline(report), _body(report, plots, before))


def fill_template(title: str, body: Iterable[str]) -> str:
    return TEMPLATE.substitute(title=escape(title), body="\n".join(body))


def _body(report: Report, plots: Sequence[str], before: Report | None) -> Iterator[str]:
    yield (
        paragraph("Every verdict is ok.", "ok") if report.holds else paragraph("Not every verdict is ok.", "broken")
    )
    yield from (paragraph(f"Warning: {doubt}", "warning") for doubt in report.doubts)
    yield from (_offenders(verdict) for verdict in report.verdicts if not verdict.holds)
    yield from map(table, tables(report))
    yield paragraph(generator_sentences(report))
    yield from plots
    if before:
        yield f"<h2>Comparison with the load of {before.started:%Y-%m-%d %H:%M} UTC</h2>"
        yield from (paragraph(f"Not the same: {change}", "warning") for change in changed(before, report))
        yield table(comparison(before, report))
    yield "<h2>Parameters, machine and versions</h2>"
    yield table(_conditions(report))


def table(content: Table) -> str:
    head = "".join(f"<th>{escape(column)}" for column in content.columns)
    rows = ("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in content.rows)
    return f"<table><tr>{head}\n" + "\n".join(rows) + "</table>"


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>'


def _offenders(verdict: CheckResult) -> str:
    rows = "\n".join(msgspec.json.encode(row).decode() for row in verdict.rows)
    summary = f"{verdict.name}: {verdict.statement} Offenders: {verdict.offenders:,}, the first of them:"
    return paragraph(summary, "broken") + f"<pre>{escape(rows)}</pre>"


def _conditions(report: Report) -> Table:
    structs = (report.parameters, report.machine)
    rows = [(name, str(value)) for one in structs for name, value in msgspec.structs.asdict(one).items()]
    rows += [(f"{name} replicas", str(count)) for name, count in report.replicas.items()]
    rows += report.versions.items()
    return Table(("", ""), [("started", f"{report.started:%Y-%m-%d %H:%M:%S} UTC"), *rows])
