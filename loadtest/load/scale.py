"""Runs the same load with several numbers of replicas, to show their throughput and their cost.

make scale NOTIFIERS="1 5" SECONDS=20        python -m loadtest.load.scale NOTIFIERS="1 5" SECONDS=20
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

from msgspec import Meta

from loadtest.load.command import create_folder, main, new_folder, save
from loadtest.load.html_report import fill_template, paragraph, table
from loadtest.load.measurements import TO_201, TO_TOAST
from loadtest.load.parameters import Dir, InFlight, LoadError, Parameters, Seconds, Users, parse
from loadtest.load.plots import draw, lines
from loadtest.load.report import Report
from loadtest.load.run import run
from loadtest.load.tables import Table
from loadtest.load.terminal import console, show_failures, show_progress, show_table

SHOP = "deploy/local/shop.py"
PORTS = "--base-port", "29000", "--entrance", "8091"
OTHERS = "The column others is the number of replicas of orders, and of payments."
Counts = Annotated[str, Meta(pattern=r"^[1-9]\d?( [1-9]\d?)*$")]


class Scaling(Parameters, frozen=True, kw_only=True):
    command: ClassVar[str] = "make scale"

    dir: Dir = ".run/scale"
    users: Users = 1000
    seconds: Seconds = 10.0
    in_flight: InFlight = 64

    notifiers: Annotated[Counts, Meta(description="numbers of replicas of the notifier to try")] = "1 2 3 5"
    others: Annotated[Counts, Meta(description="numbers of replicas of orders and payments to try")] = "1 2"


class Combination(NamedTuple):
    """A load with `notifiers` replicas of the notifier, and `others` replicas of orders and of payments each."""

    notifiers: int
    others: int
    report: Report

    @property
    def name(self) -> str:
        return f"notifier-{self.notifiers}-others-{self.others}"


def scale(words: Sequence[str]) -> bool:
    """Returns whether every verdict of every load holds."""
    parameters, out = parse(Scaling, words), console()
    if parameters.url or parameters.compare:
        raise LoadError("scale starts its own shop and compares its own loads: it takes neither URL nor COMPARE")
    folder = new_folder(parameters)
    combinations: list[Combination] = []
    try:
        for notifiers, others in _counts(parameters):
            out.print(f"notifier {notifiers}, orders {others}, payments {others}")
            # Every load starts with an empty shop. Otherwise later loads would bear the cost of earlier data.
            run_shop_command(parameters, "clean")
            both = f"orders={others}", f"payments={others}"
            run_shop_command(parameters, "up", *PORTS, "--replicas", f"notifier={notifiers}", *both)
            with show_progress(out, parameters) as show:
                report = asyncio.run(run(parameters, show))
            combinations.append(Combination(notifiers, others, report))
            show_failures(out, report)
            save(report, create_folder(folder / combinations[-1].name))
    finally:
        run_shop_command(parameters, "down")
    overview = scale_table(combinations)
    show_table(out, overview)
    body = [paragraph(OTHERS), table(overview), *_plots(combinations, folder), *map(_link, combinations)]
    (folder / "scale.html").write_text(fill_template("More replicas", body))
    out.print(f"{folder}/scale.html")
    return all(one.report.holds for one in combinations)


def run_shop_command(parameters: Parameters, *words: str) -> None:
    """Runs deploy/local/shop.py on the shop in `parameters.dir`. Raises LoadError with its output if it fails."""
    command = [sys.executable, SHOP, *words, "--dir", parameters.dir]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise LoadError(f"{SHOP} {words[0]}:\n{done.stdout}{done.stderr}")


def _counts(parameters: Scaling) -> Iterator[tuple[int, int]]:
    for others in map(int, parameters.others.split()):
        for notifiers in map(int, parameters.notifiers.split()):
            yield notifiers, others


def scale_table(combinations: Sequence[Combination]) -> Table:
    columns = ("notifiers", "others", "accepted/s", "toasted/s", "201 p50", "p99", "toast p50", "p99 ms")
    return Table((*columns, "µs per order", "verdicts"), [_row(one) for one in combinations])


def _row(combination: Combination) -> Sequence[str]:
    report = combination.report
    answer, toast = report.times[TO_201], report.times[TO_TOAST]
    figures = (report.accepted_a_second, report.told_a_second, answer.p50, answer.p99, toast.p50, toast.p99)
    counts = map(str, (combination.notifiers, combination.others))
    formatted = (f"{figure:,.0f}" for figure in (*figures, report.us_an_order))
    return (*counts, *formatted, "ok" if report.holds else "NOT ok")


def _link(combination: Combination) -> str:
    name, doubts = combination.name, combination.report.doubts
    warnings = f", warnings: {len(doubts)}" if doubts else ""
    return f'<p><a href="{name}/report.html">{name}</a>{warnings}</p>'


def _plots(combinations: Sequence[Combination], folder: Path) -> Iterator[str]:
    """Draws figures over the number of notifiers, with a line for each number of the others."""
    drawn: dict[str, tuple[str, str, Callable[[Report], float]]] = {
        "throughput": ("Throughput", "toasted orders per second", lambda report: report.told_a_second),
        "latency": ("Latency to toast, p99", "ms", lambda report: report.times[TO_TOAST].p99),
        "cpu": ("CPU of the shop", "µs per order", lambda report: report.us_an_order),
    }
    notifiers = list(dict.fromkeys(str(one.notifiers) for one in combinations))
    for name, (title, unit, figure) in drawn.items():
        series = {
            f"others {others}": [figure(one.report) for one in combinations if one.others == others]
            for others in dict.fromkeys(one.others for one in combinations)
        }
        yield draw(folder, name, title, lines(notifiers, series, "replicas of the notifier", unit))


if __name__ == "__main__":
    main(scale)
