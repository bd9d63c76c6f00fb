"""The command. Its exit status is 0 when every verdict holds, 1 when one does not, 2 when there was no load."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from loadtest.load.comparison import changed
from loadtest.load.crew import Failed
from loadtest.load.page import page
from loadtest.load.parameters import Parameters, parse
from loadtest.load.plots import plots
from loadtest.load.report import Report, read, write
from loadtest.load.run import run
from loadtest.load.tables import comparison
from loadtest.load.terminal import console, show_report, show_table, showing


def load(words: Sequence[str]) -> int:
    """Returns the exit status."""
    parameters, out = parse(Parameters, words), console()
    before = read(Path(parameters.compare)) if parameters.compare else None
    try:
        with showing(out, parameters) as show:
            report = asyncio.run(run(parameters, show))
    except Failed as error:
        print(error, file=sys.stderr)
        return 2
    show_report(out, report)
    if before:
        _compare(out, before, report)
    directory = new_directory(parameters)
    write(report, directory / "report.json")
    (directory / "report.html").write_text(page(report, plots(report, directory), before))
    out.print(f"{directory}/report.html")
    return 0 if report.holds else 1


def new_directory(parameters: Parameters) -> Path:
    directory = Path(parameters.reports) / f"{datetime.now():%Y-%m-%d-%H%M%S}"
    directory.mkdir(parents=True)
    return directory


def _compare(out: Console, before: Report, report: Report) -> None:
    for change in changed(before, report):
        out.print(f"not the same: {change}", markup=False)
    show_table(out, comparison(before, report))
