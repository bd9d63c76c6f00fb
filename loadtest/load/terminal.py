"""The output of a load on the terminal: its progress and its report."""

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
from loadtest.load.tables import Table, generator_sentences, headline, tables

LINE_SECONDS = 5.0
WIDTH = 110


def console() -> Console:
    """Returns a console as wide as the terminal. If there is no terminal, it is wide enough for every table."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH)


@contextmanager
def show_progress(out: Console, parameters: Parameters) -> Generator[Show]:
    """Shows a progress bar on a terminal. Elsewhere prints a line every LINE_SECONDS and for each new stage."""
    if not out.is_terminal:
        yield _lines(out, parameters)
        return
    with Bar(TextColumn("{task.description}"), BarColumn(), console=out, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def show(progress: LoadProgress, seconds: float) -> None:
            text, part = _progress_text(progress, seconds, parameters)
            bar.update(task, description=text, completed=part)

        yield show


def _lines(out: Console, parameters: Parameters) -> Show:
    due, stage, last = 0.0, Stage.STARTING, ""

    def show(progress: LoadProgress, seconds: float) -> None:
        nonlocal due, stage, last
        text, _ = _progress_text(progress, seconds, parameters)
        if text != last and (time.monotonic() >= due or progress.stage is not stage):
            due, stage, last = time.monotonic() + LINE_SECONDS, progress.stage, text
            out.print(text)

    return show


def _progress_text(progress: LoadProgress, seconds: float, parameters: Parameters) -> tuple[str, float]:
    """Returns the progress in words, and the completed part of the stage from 0 to 1."""
    wrong = f", {progress.wrong} wrong responses" if progress.wrong else ""
    orders = f"{progress.accepted:,} orders accepted, {progress.toasted:,} toasted{wrong}"
    match progress.stage:
        case Stage.STARTING | Stage.OPENING | Stage.READY:
            part = progress.opened / parameters.users
            return f"{progress.opened:,} of {parameters.users:,} users have their pages open", part
        case Stage.LOADING:
            return f"{seconds:3.0f} of {parameters.seconds:g} s: {orders}", seconds / parameters.seconds
        case Stage.WAITING:
            return f"waiting for the last toasts: {orders}", progress.toasted / max(1, progress.accepted)
        case _:
            return "reading every order and balance from the shop", 1.0


def show_report(out: Console, report: Report) -> None:
    out.print(f"\n{headline(report)}\n")
    for table in tables(report):
        show_table(out, table)
    out.print(generator_sentences(report))
    show_failures(out, report)
    out.print(Text("every verdict is ok", "green") if report.holds else Text("NOT ok", "bold red"))


def show_failures(out: Console, report: Report) -> None:
    """Shows the failed self-checks as warnings, and the offenders of every verdict that does not hold."""
    for doubt in report.doubts:
        out.print(Text(f"warning: {doubt}", "yellow"))
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
