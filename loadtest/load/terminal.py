"""What one sees while a load runs and when it is over."""

import time
from collections.abc import Generator
from contextlib import contextmanager

import msgspec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table as Grid
from rich.text import Text

from loadtest.load.checks import CheckResult
from loadtest.load.messages import LoadProgress, Stage
from loadtest.load.parameters import Parameters
from loadtest.load.report import Report
from loadtest.load.run import Show
from loadtest.load.tables import Table, generator, headline, tables

LINE_SECONDS = 5.0
WIDTH = 110


def console() -> Console:
    """As wide as the terminal; elsewhere wide enough for every table."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH)


@contextmanager
def showing(out: Console, parameters: Parameters) -> Generator[Show]:
    """A bar on a terminal, elsewhere a line now and then."""
    if not out.is_terminal:
        yield _lines(out, parameters)
        return
    with Bar(TextColumn("{task.description}"), BarColumn(), console=out, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def show(progress: LoadProgress, seconds: float) -> None:
            words, part = _how_far(progress, seconds, parameters)
            bar.update(task, description=words, completed=part)

        yield show


def _lines(out: Console, parameters: Parameters) -> Show:
    due, stage, last = 0.0, Stage.STARTING, ""

    def show(progress: LoadProgress, seconds: float) -> None:
        nonlocal due, stage, last
        words, _ = _how_far(progress, seconds, parameters)
        if words != last and (time.monotonic() >= due or progress.stage is not stage):
            due, stage, last = time.monotonic() + LINE_SECONDS, progress.stage, words
            out.print(words)

    return show


def _how_far(progress: LoadProgress, seconds: float, parameters: Parameters) -> tuple[str, float]:
    """In words, and as a part of the stage."""
    wrong = f", {progress.wrong} answers wrong" if progress.wrong else ""
    orders = f"{progress.accepted:,} orders accepted, {progress.told:,} told{wrong}"
    match progress.stage:
        case Stage.STARTING | Stage.OPENING | Stage.READY:
            part = progress.opened / parameters.users
            return f"{progress.opened:,} of {parameters.users:,} users have their pages open", part
        case Stage.LOADING:
            return f"{seconds:3.0f} of {parameters.seconds:g} s: {orders}", seconds / parameters.seconds
        case Stage.WAITING:
            return f"waiting for the last: {orders}", progress.told / max(1, progress.accepted)
        case _:
            return "asking the shop what it says of every order and balance", 1.0


def show_report(out: Console, report: Report) -> None:
    out.print(f"\n{headline(report)}\n")
    for table in tables(report):
        show_table(out, table)
    out.print(generator(report))
    show_broken(out, report)
    out.print(Text("every verdict is ok", "green") if report.holds else Text("NOT ok", "bold red"))


def show_broken(out: Console, report: Report) -> None:
    """Doubts, and the offenders of what does not hold."""
    for doubt in report.doubts:
        out.print(Text(f"doubt: {doubt}", "yellow"))
    for verdict in report.verdicts:
        if not verdict.holds:
            _show_offenders(out, verdict)


def show_table(out: Console, table: Table) -> None:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for number, column in enumerate(table.columns):
        grid.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in table.rows:
        grid.add_row(*map(Text, row))
    out.print(grid)


def _show_offenders(out: Console, verdict: CheckResult) -> None:
    out.print(Text(f"{verdict.name}: {verdict.statement} Offenders: {verdict.offenders:,}", "bold red"))
    for row in verdict.rows:
        out.print(Text("  " + "  ".join(f"{name}={msgspec.json.encode(of).decode()}" for name, of in row.items())))
    if verdict.offenders > len(verdict.rows):
        out.print(f"  and {verdict.offenders - len(verdict.rows):,} more")
