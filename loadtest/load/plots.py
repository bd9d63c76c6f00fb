"""The plots of a report."""

import math
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.load.histogram import Histogram
from loadtest.load.report import Report

SIZE = 7.5, 3.2
STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
}
PERCENTILES = [
    *range(0, 90),
    *(90 + n / 10 for n in range(90)),
    *(99 + n / 100 for n in range(90)),
    99.9,
    99.95,
    99.99,
]

MARKED_POINTS_LIMIT = 20

Draw = Callable[[Axes], None]


def draw(directory: Path, name: str, title: str, paint: Draw) -> str:
    """Writes name.svg and name.png. Returns the SVG for embedding in HTML."""
    with mpl.rc_context(STYLE):
        figure = Figure(SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, loc="left", fontweight="bold")
        paint(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        svg = StringIO()
        figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        figure.savefig(directory / f"{name}.png", dpi=150)
    (directory / f"{name}.svg").write_text(svg.getvalue())
    return svg.getvalue()[svg.getvalue().index("<svg") :]


def plots(report: Report, directory: Path) -> list[str]:
    painted = {
        "throughput": ("Throughput", _throughput(report)),
        "latency": ("Latency over time", _latency(report)),
        "distribution": ("Distribution of latency", _distribution(report)),
        "cpu": ("CPU", _cpu(report)),
    }
    painted |= {
        what.partition(",")[0]: (what, _over_time(report, what))
        for what in dict.fromkeys(s.what for s in report.series)
    }
    return [draw(directory, name, title, paint) for name, (title, paint) in painted.items()]


def lines(
    x: Sequence[float] | Sequence[str], series: Mapping[str, Sequence[float]], xlabel: str, ylabel: str
) -> Draw:
    """Draws one line for each series. The y axis begins at 0, so that a small change looks small."""

    def paint(axes: Axes) -> None:
        colour = mpl.colormaps["tab10" if len(series) <= 10 else "tab20"]
        marker = "." if len(x) < MARKED_POINTS_LIMIT else ""
        for number, (name, values) in enumerate(series.items()):
            axes.plot(x, values, label=name, color=colour(number), linewidth=1.2, marker=marker)
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, None))

    return paint


def _throughput(report: Report) -> Draw:
    moments = report.timeline
    series = {
        "accepted": [moment.accepted_a_second for moment in moments],
        "toasted": [moment.told_a_second for moment in moments],
    }
    return lines([moment.second for moment in moments], series, "seconds", "orders per second")


def _latency(report: Report) -> Draw:
    moments = [moment for moment in report.timeline if moment.to_201.count]
    series = {
        "to toast, p99": [moment.to_toast.p99 for moment in moments],
        "to toast, p90": [moment.to_toast.p90 for moment in moments],
        "to toast, p50": [moment.to_toast.p50 for moment in moments],
        "to 201, p99": [moment.to_201.p99 for moment in moments],
        "to 201, p50": [moment.to_201.p50 for moment in moments],
    }
    return lines([moment.second for moment in moments], series, "seconds", "ms")


def _distribution(report: Report) -> Draw:
    """Draws latency over percentile, on an axis where 90, 99 and 99.9 are equally far apart."""

    def paint(axes: Axes) -> None:
        for name, figures in report.times.items():
            histogram = Histogram.decoded(figures.hdr)
            shown = [p for p in PERCENTILES if figures.count * (1 - p / 100) >= 1]
            axes.plot([1 / (1 - p / 100) for p in shown], [histogram.milliseconds(p) for p in shown], label=name)
        nines = {1: "0", 2: "50", 10: "90", 100: "99", 1000: "99.9", 10_000: "99.99"}
        axes.set(xscale="log", xlabel="percentile", ylabel="ms", ylim=(0, None))
        axes.set_xticks(list(nines), list(nines.values()))
        axes.minorticks_off()

    return paint


def _over_time(report: Report, what: str) -> Draw:
    """Draws all series of one kind. Values that could not be read are gaps."""
    series = [one for one in report.series if one.what == what]
    seconds = sorted({second for one in series for second in one.seconds})
    read = {one.name: dict(zip(one.seconds, one.values, strict=True)) for one in series}
    values = {name: [found.get(second, math.nan) for second in seconds] for name, found in read.items()}
    return lines(seconds, values, "seconds", what.rpartition(", ")[2])


def _cpu(report: Report) -> Draw:
    def paint(axes: Axes) -> None:
        names = [one.name for one, _ in report.services()]
        shares = [[100 * moment.services.get(name, 0.0) for moment in report.cpu] for name in names]
        tab20 = mpl.colormaps["tab20"]
        axes.stackplot(
            [moment.second for moment in report.cpu],
            shares,
            labels=names,
            colors=[*map(tab20, range(len(names) - 1)), "0.9"],
        )
        axes.set(xlabel="seconds", ylabel="% of a core", ylim=(0, None))

    return paint
