"""The tables and the plot of docs/scaling.md."""

import math
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes

from loadtest.load.costs import Costs, OrderCosts
from loadtest.load.plots import Draw, draw
from loadtest.sizing.model import CORES, Size, limits, size, socket_limits

DOCUMENT = Path("docs/scaling.md")
PLOT = Path("docs/images/sizing.svg")
INBOX = "payments inbox"
LOADS = ((1_000, 0), (10_000, 0), (100_000, 0), (1_000, 100_000), (10_000, 1_000_000))


def with_new_tables(document: str, measured: Costs) -> str:
    """Replaces each table of the document by the one whose first column has the same heading."""
    for table in tables(measured):
        heading = table.split("|")[1]
        document = re.sub(rf"^\|{re.escape(heading)}\|.*\n(\|.*\n)*", table + "\n", document, flags=re.MULTILINE)
    return document


def tables(measured: Costs) -> Iterator[str]:
    small, large = measured.orders[0], measured.orders[-1]

    def row(name: str, figure: Callable[[OrderCosts], float], digits: int = 0) -> tuple[str, ...]:
        return name, *(f"{figure(of):,.{digits}f}" for of in (small, large))

    yield _table(
        ("one order", f"{small.in_flight} in flight", f"{large.in_flight} in flight"),
        [
            row("events in a batch of orders", lambda of: of.batches["orders"], 1),
            *(row(f"µs of a core, {name}", partial(_us, name)) for name in _expensive_services(small)),
            row("µs of a core, all of the shop", lambda of: of.us_an_order),
            row("messages", lambda of: of.messages, 2),
            row("WAL, bytes", lambda of: of.wal_bytes),
            row("inbox and its indexes, bytes for a week", lambda of: of.table_bytes[INBOX]),
            row("other tables and indexes, bytes for ever", _permanent_bytes),
            row("the same at 1,000 orders/s, GB per day", lambda of: _permanent_bytes(of) * 86_400 / 1e6),
            row("Redis, bytes for an hour", lambda of: of.mark_bytes),
            row("Redis, bytes in the user's stream", lambda of: of.stream_bytes),
        ],
    )
    yield _table(
        ("one idle socket", "KiB", "µs of a core per second"),
        [
            (name, f"{taken / 1024:.1f}", f"{measured.socket.us_a_second[name]:.1f}")
            for name, taken in measured.socket.bytes.items()
        ],
    )
    with_large = {limit.part: limit.most for limit in limits(large, measured)}
    yield _table(
        ("full at orders/s, small batches", "large batches", "what", "what is added"),
        [
            (_rounded(limit.most), _rounded(with_large[limit.part]), limit.part, limit.remedy)
            for limit in limits(small, measured)
        ],
    )
    yield _table(
        ("full at sockets", "what", "what is added"),
        [(_rounded(limit.most), limit.part, limit.remedy) for limit in socket_limits(large)],
    )
    yield _table(
        ("orders/s", "sockets", *Size._fields),
        [
            (
                f"{orders:,}",
                f"{sockets:,}",
                *_ranges(*(size(orders, sockets, of, measured) for of in (large, small))),
            )
            for orders, sockets in LOADS
        ],
    )


def _permanent_bytes(of: OrderCosts) -> float:
    return sum(of.table_bytes.values()) - of.table_bytes[INBOX]


def _us(service: str, of: OrderCosts) -> float:
    return of.us[service]


def _expensive_services(of: OrderCosts) -> list[str]:
    """Returns the services that take at least 1 % of the cost of an order."""
    return [name for name, us in of.us.items() if us >= 0.01 * of.us_an_order]


def _rounded(most: float) -> str:
    """Rounds to two significant digits. The costs are not known more precisely."""
    return f"{round(most, 1 - math.floor(math.log10(most))):,.0f}"


def _ranges(least: Size, most: Size) -> Iterator[str]:
    for low, high in zip(least, most, strict=True):
        yield f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(measured: Costs) -> str:
    # Without a salt, matplotlib gives random ids to the elements of an SVG.
    with tempfile.TemporaryDirectory() as folder, mpl.rc_context({"svg.hashsalt": PLOT.stem}):
        return draw(Path(folder), "sizing", "Machines", _machines(measured)) + "\n"


def _machines(measured: Costs) -> Draw:
    orders = [10 ** (exponent / 10) for exponent in range(20, 53)]

    def paint(axes: Axes) -> None:
        for of in (measured.orders[0], measured.orders[-1]):
            counts = [size(each, 0, of, measured).machines for each in orders]
            axes.plot(orders, counts, label=f"costs at {of.in_flight} in flight")
        axes.set(xscale="log", yscale="log", xlabel="orders per second", ylabel=f"machines of {CORES} cores")

    return paint
