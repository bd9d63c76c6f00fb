"""The command. Its exit status is 0 when every verdict holds, 1 when one does not, 2 when there was no load."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from loadtest.load.comparison import changed
from loadtest.load.page import page
from loadtest.load.parameters import Failed, Parameters, parse
from loadtest.load.plots import plots
from loadtest.load.report import Report, read, write
from loadtest.load.run import run
from loadtest.load.tables import comparison
from loadtest.load.terminal import console, show_report, show_table, showing


def load(words: Sequence[str]) -> bool:
    """Whether every verdict holds."""
    parameters, out = parse(Parameters, words), console()
    before = earlier(parameters)
    with showing(out, parameters) as show:
        report = asyncio.run(run(parameters, show))
    return finish(out, report, before)


def earlier(parameters: Parameters) -> Report | None:
    return read(Path(parameters.compare)) if parameters.compare else None


def finish(out: Console, report: Report, before: Report | None) -> bool:
    """Shows and keeps it, and says whether every verdict holds."""
    show_report(out, report)
    if before:
        _compare(out, before, report)
    folder = new_folder(report.parameters)
    save(report, folder, before)
    out.print(f"{folder}/report.html")
    return report.holds


def new_folder(parameters: Parameters) -> Path:
    return new(Path(parameters.reports) / f"{datetime.now():%Y-%m-%d-%H%M%S}")


def new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def save(report: Report, folder: Path, before: Report | None = None) -> None:
    write(report, folder / "report.json")
    (folder / "report.html").write_text(page(report, plots(report, folder), before))


def main(command: Callable[[Sequence[str]], bool]) -> None:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        sys.exit(0 if command(sys.argv[1:]) else 1)
    except Failed as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _compare(out: Console, before: Report, report: Report) -> None:
    for change in changed(before, report):
        out.print(f"not the same: {change}", markup=False)
    show_table(out, comparison(before, report))
