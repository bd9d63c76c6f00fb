"""The same load on a shop of its own with more and more replicas: what they bring, and what they cost.

make scale NOTIFIERS="1 5" SECONDS=20        python -m loadtest.load.scale NOTIFIERS="1 5" SECONDS=20
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta

from loadtest.load.command import main, new, new_folder, save
from loadtest.load.figures import TO_201, TO_TOAST
from loadtest.load.page import filled, paragraph, table
from loadtest.load.parameters import Dir, Failed, InFlight, Parameters, Seconds, Users, parse
from loadtest.load.plots import draw, lines
from loadtest.load.report import Report
from loadtest.load.run import run
from loadtest.load.tables import Table
from loadtest.load.terminal import console, show_broken, show_table, showing

SHOP = "deploy/local/shop.py"
PORTS = "--base-port", "29000", "--entrance", "8091"
OTHERS = "The others are orders and payments, each with so many replicas."
Counts = Annotated[str, Meta(pattern=r"^[1-9]\d?( [1-9]\d?)*$")]


class Scaling(Parameters, frozen=True, kw_only=True):
    dir: Dir = ".run/scale"
    users: Users = 1000
    seconds: Seconds = 10.0
    in_flight: InFlight = 64
    notifiers: Annotated[Counts, Meta(description="counts of replicas of the notifier to try")] = "1 2 3 5"
    others: Annotated[Counts, Meta(description="counts of replicas of orders and payments to try")] = "1 2"


class Cell(NamedTuple):
    """`others` are the replicas of orders, and those of payments."""

    notifiers: int
    others: int
    report: Report

    @property
    def name(self) -> str:
        return f"notifier-{self.notifiers}-others-{self.others}"


def scale(words: Sequence[str]) -> bool:
    """Whether every verdict of every cell holds."""
    parameters, out = parse(Scaling, words), console()
    if parameters.url or parameters.compare:
        raise Failed("scale starts shops of its own and compares them: it takes neither URL nor COMPARE")
    folder = new_folder(parameters)
    cells: list[Cell] = []
    try:
        for notifiers, others in _counts(parameters):
            out.print(f"notifier {notifiers}, orders {others}, payments {others}")
            # Every cell begins with an empty shop, so that none pays for what those before it left.
            shop(parameters, "clean")
            both = f"orders={others}", f"payments={others}"
            shop(parameters, "up", *PORTS, "--replicas", f"notifier={notifiers}", *both)
            with showing(out, parameters) as show:
                report = asyncio.run(run(parameters, show))
            cells.append(Cell(notifiers, others, report))
            show_broken(out, report)
            save(report, new(folder / cells[-1].name))
    finally:
        shop(parameters, "down")
    show_table(out, in_table(cells))
    body = [paragraph(OTHERS), table(in_table(cells)), *_plots(cells, folder), *map(_link, cells)]
    (folder / "scale.html").write_text(filled("More replicas", body))
    out.print(f"{folder}/scale.html")
    return all(cell.report.holds for cell in cells)


def shop(parameters: Parameters, *words: str) -> None:
    command = [sys.executable, SHOP, *words, "--dir", parameters.dir]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{SHOP} {words[0]}:\n{done.stdout}{done.stderr}")


def _counts(parameters: Scaling) -> Iterator[tuple[int, int]]:
    for others in map(int, parameters.others.split()):
        for notifiers in map(int, parameters.notifiers.split()):
            yield notifiers, others


def in_table(cells: Sequence[Cell]) -> Table:
    columns = ("notifiers", "others", "accepted/s", "toasted/s", "201 p50", "p99", "toast p50", "p99 ms")
    return Table((*columns, "us/order", "verdicts"), [_row(cell) for cell in cells])


def _row(cell: Cell) -> Sequence[str]:
    report = cell.report
    answer, toast = report.times[TO_201], report.times[TO_TOAST]
    figures = (report.accepted_a_second, report.told_a_second, answer.p50, answer.p99, toast.p50, toast.p99)
    counts = map(str, (cell.notifiers, cell.others))
    words = (f"{figure:,.0f}" for figure in (*figures, report.us_an_order))
    return (*counts, *words, "ok" if report.holds else "NOT ok")


def _link(cell: Cell) -> str:
    doubts = f", doubts: {len(cell.report.doubts)}" if cell.report.doubts else ""
    return f'<p><a href="{cell.name}/report.html">{cell.name}</a>{doubts}</p>'


def _plots(cells: Sequence[Cell], folder: Path) -> Iterator[str]:
    """Over the replicas of the notifier, a line for each count of the others."""
    drawn: dict[str, tuple[str, str, Callable[[Report], float]]] = {
        "throughput": ("Throughput", "orders told a second", lambda report: report.told_a_second),
        "latency": ("Latency to toast, p99", "ms", lambda report: report.times[TO_TOAST].p99),
        "cpu": ("CPU of the shop", "us an order", lambda report: report.us_an_order),
    }
    notifiers = list(dict.fromkeys(str(cell.notifiers) for cell in cells))
    for name, (title, unit, figure) in drawn.items():
        series = {
            f"others {others}": [figure(cell.report) for cell in cells if cell.others == others]
            for others in dict.fromkeys(cell.others for cell in cells)
        }
        yield draw(folder, name, title, lines(notifiers, series, "replicas of the notifier", unit))


if __name__ == "__main__":
    main(scale)
