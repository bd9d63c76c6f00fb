"""`make load`. The exit status is 0 if every verdict holds, 1 if one does not, 2 if the load could not be made."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from loadtest.load.comparison import changed
from loadtest.load.html_report import page
from loadtest.load.parameters import HelpRequested, LoadError, Parameters, parse
from loadtest.load.plots import plots
from loadtest.load.report import Report, read, write
from loadtest.load.run import run
from loadtest.load.tables import comparison
from loadtest.load.terminal import console, show_progress, show_report, show_table


def load(words: Sequence[str]) -> bool:
    """Returns whether every verdict holds."""
    parameters, out = parse(Parameters, words), console()
    before = earlier(parameters)
    with show_progress(out, parameters) as show:
        report = asyncio.run(run(parameters, show))
    return finish(out, report, before)


def earlier(parameters: Parameters) -> Report | None:
    return read(Path(parameters.compare)) if parameters.compare else None


def finish(out: Console, report: Report, before: Report | None) -> bool:
    """Shows the report and saves it in a new folder. Returns whether every verdict holds."""
    show_report(out, report)
    if before:
        _compare(out, before, report)
    folder = new_folder(report.parameters)
    save(report, folder, before)
    out.print(f"{folder}/report.html")
    return report.holds


def new_folder(parameters: Parameters) -> Path:
    return create_folder(Path(parameters.reports) / f"{datetime.now():%Y-%m-%d-%H%M%S}")


def create_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def save(report: Report, folder: Path, before: Report | None = None) -> None:
    write(report, folder / "report.json")
    (folder / "report.html").write_text(page(report, plots(report, folder), before))


def main(command: Callable[[Sequence[str]], bool]) -> None:
    """Runs a command on the words of the command line, and exits with its status."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        sys.exit(0 if command(sys.argv[1:]) else 1)
    except HelpRequested as requested:
        print(requested)
        sys.exit(0)
    except LoadError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _compare(out: Console, before: Report, report: Report) -> None:
    for change in changed(before, report):
        out.print(f"not the same: {change}", markup=False)
    show_table(out, comparison(before, report))
