"""How many machines so many orders a second and open sockets take, reckoned from measured costs.

    python -m loadtest.sizing                              the tables of docs/scaling.md
    python -m loadtest.sizing --write                      writes them there, and the plot
    python -m loadtest.sizing --check REPORT.json ...      the model beside what a load has measured

The costs are those of docs/measured/costs.json, which `loadtest.load.footprint` measures.
"""

import argparse
import math
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from loadtest.load import costs
from loadtest.load.costs import Costs, OrderCosts
from loadtest.load.parameters import Failed, Parameters
from loadtest.load.plots import Draw, draw
from loadtest.load.report import EVERYTHING_ELSE, GENERATOR, Report, read
from shopkit.db import MOST_CONNECTIONS

MEASURED = Path("docs/measured/costs.json")
PAGE = Path("docs/scaling.md")
PLOT = Path("docs/images/sizing.svg")

# What is assumed, not measured.
BUSY = 0.6  # of what there is; the rest is for peaks and for what a failed machine leaves behind
CORES, MEMORY = 16, 64 * 2**30  # of a machine
FEWEST, REPLICAS = 3, 2  # machines, and replicas of whatever keeps nothing
SERVERS = {"postgres": 2, "rabbitmq": 3, "redis": 2}  # that do the same work: a primary and its standby, a quorum
QUEUES = 3  # busy ones, which share the work of RabbitMQ; the leader of each is one process
MARKED_SECONDS, KEPT_MESSAGES = 3600, 100  # notifier/fan_out.lua
CONNECTIONS = 297  # max_connections, without those for superusers
NGINX_CONNECTIONS, NOTIFIER_SOCKETS = 16_384, 5_000  # nginx.conf; what Kubernetes scales the notifier by

SERVICES = "gateway", "orders", "payments", "notifier", "nginx"
INBOX = "payments inbox"
CELL = "a cell"
STEPS = ((1_000, 0), (10_000, 0), (100_000, 0), (1_000, 100_000), (10_000, 1_000_000))


class Limit(NamedTuple):
    """`most` orders a second, or sockets, is where a part is full."""

    part: str
    most: float
    instead: str


class Size(NamedTuple):
    """What a step takes: cells, processes of services, cores of PostgreSQL's primaries, machines in all."""

    cells: int
    gateway: int
    orders: int
    payments: int
    notifier: int
    nginx: int
    postgres: int
    machines: int


def limits(of: OrderCosts, measured: Costs) -> list[Limit]:
    """Of orders a second in one cell, the lowest first."""

    def full(service: str, cores: int = 1) -> float:
        return BUSY * cores * 1e6 / of.us[service]

    processes = CONNECTIONS / (MOST_CONNECTIONS + 1)
    accepting_and_charging = BUSY * processes * 1e6 / (of.us["orders"] + of.us["payments"])
    found = [
        *(Limit(f"one process of {service}", full(service), "a replica") for service in SERVICES),
        Limit("PostgreSQL's connections", accepting_and_charging, "a higher `max_connections`"),
        Limit(f"PostgreSQL's {CORES} cores", full("postgres", CORES), CELL),
        Limit("a standby's replay of WAL", BUSY * measured.replayed_bytes / of.wal_bytes, CELL),
        Limit("the leader of a queue", full("rabbitmq", QUEUES), CELL),
        Limit("Redis' one core", full("redis"), CELL),
        Limit("Redis' memory for the marks of events", BUSY * MEMORY / MARKED_SECONDS / of.mark_bytes, CELL),
    ]
    return sorted(found, key=lambda limit: limit.most)


def socket_limits(of: OrderCosts) -> list[Limit]:
    return [
        Limit("a notifier, as Kubernetes scales it", NOTIFIER_SOCKETS, "a replica"),
        Limit("`worker_connections` of nginx", NGINX_CONNECTIONS / 2, "a worker"),
        Limit("Redis' memory for a user's stream", BUSY * MEMORY / KEPT_MESSAGES / of.stream_bytes, CELL),
    ]


def size(orders: float, sockets: int, of: OrderCosts, measured: Costs) -> Size:
    cores = {
        service: (orders * us + sockets * measured.socket.us_a_second.get(service, 0.0)) / 1e6 / BUSY
        for service, us in of.us.items()
    }
    holding, passing, keeping = (sockets / limit.most for limit in socket_limits(of))
    at_least = dict.fromkeys(SERVICES, float(REPLICAS)) | {
        "notifier": max(REPLICAS, holding),
        "nginx": max(REPLICAS, passing),
    }
    processes = {service: math.ceil(max(cores[service], least)) for service, least in at_least.items()}
    one_cell = min(limit.most for limit in limits(of, measured) if limit.instead == CELL)
    all_cores = sum(cores[service] * SERVERS.get(service, 1) for service in cores)
    memory = sockets * sum(measured.socket.bytes.values()) / BUSY
    return Size(
        cells=math.ceil(max(1.0, orders / one_cell, keeping)),
        **processes,
        postgres=math.ceil(cores["postgres"]),
        machines=math.ceil(max(FEWEST, all_cores / CORES, memory / MEMORY)),
    )


def at(in_flight: float, measured: Costs) -> float:
    """Microseconds an order: what a batch costs is shared by all in it, and the rest is each order's own."""
    small, large = measured.orders[0], measured.orders[-1]
    shared = (small.us_an_order - large.us_an_order) / (1 / small.in_flight - 1 / large.in_flight)
    return large.us_an_order + shared * (1 / in_flight - 1 / large.in_flight)


def check(report: Report, measured: Costs) -> str:
    """Orders a second that the model gives the cores which the load and other programs left to the shop."""
    if not report.parameters.in_flight:
        raise Failed("a load by plan says nothing of the most a shop can do: IN_FLIGHT= makes one that does")
    if _mix(report.parameters) != _mix(Parameters()):
        raise Failed("the costs are those of another mix of orders, top-ups and reads")
    others = sum(one.share for one in report.processes if one.name in (GENERATOR, EVERYTHING_ELSE))
    taken = sum(one.share for one in report.processes)
    # Requests are divided among replicas, so twice the replicas make batches of half the size.
    in_flight = report.parameters.in_flight * measured.replicas["orders"] / report.replicas["orders"]
    expected = (report.machine.cores - others) * 1e6 / at(in_flight, measured)
    return (
        f"{report.replicas['notifier']} notifiers, {report.replicas['orders']} others, "
        f"{report.parameters.in_flight} in flight: {expected:,.0f} orders/s expected, {report.told_a_second:,.0f} "
        f"measured, ratio {report.told_a_second / expected:.2f}; the machine was busy to "
        f"{taken / report.machine.cores:.0%}"
    )


def filled(page: str, measured: Costs) -> str:
    """Each table takes the place of the one that begins with the same word."""
    for table in tables(measured):
        first = table.split("|")[1]
        page = re.sub(rf"^\|{re.escape(first)}\|.*\n(\|.*\n)*", table + "\n", page, flags=re.MULTILINE)
    return page


def _mix(asked: Parameters) -> tuple[float, ...]:
    return asked.declined, asked.top_ups, asked.reads, asked.second_sockets


def tables(measured: Costs) -> Iterator[str]:
    small, large = measured.orders[0], measured.orders[-1]
    yield _table(
        ("one order", f"{small.in_flight} in flight", f"{large.in_flight} in flight"),
        [
            ("events in a batch of orders", f"{small.batches['orders']:.1f}", f"{large.batches['orders']:.1f}"),
            *((f"us of a core, {name}", f"{us:,.0f}", f"{large.us[name]:,.0f}") for name, us in _most(small)),
            ("us of a core, all of the shop", f"{small.us_an_order:,.0f}", f"{large.us_an_order:,.0f}"),
            ("messages", f"{small.messages:.2f}", f"{large.messages:.2f}"),
            ("WAL, bytes", f"{small.wal_bytes:,.0f}", f"{large.wal_bytes:,.0f}"),
            (
                "inbox and its indexes, bytes for a week",
                *(f"{of.table_bytes[INBOX]:,.0f}" for of in (small, large)),
            ),
            ("other tables and indexes, bytes for ever", *(f"{_for_ever(of):,.0f}" for of in (small, large))),
            (
                "the same at 1,000 orders/s, GB a day",
                *(f"{_for_ever(of) * 86_400 / 1e6:,.0f}" for of in (small, large)),
            ),
            ("Redis, bytes for an hour", f"{small.mark_bytes:,.0f}", f"{large.mark_bytes:,.0f}"),
            ("Redis, bytes in the user's stream", f"{small.stream_bytes:,.0f}", f"{large.stream_bytes:,.0f}"),
        ],
    )
    yield _table(
        ("one idle socket", "KiB", "us of a core a second"),
        [
            (name, f"{taken / 1024:.1f}", f"{measured.socket.us_a_second[name]:.1f}")
            for name, taken in measured.socket.bytes.items()
        ],
    )
    with_large = {limit.part: limit.most for limit in limits(large, measured)}
    yield _table(
        ("full at orders/s, small batches", "large batches", "what", "what is added"),
        [
            (_about(limit.most), _about(with_large[limit.part]), limit.part, limit.instead)
            for limit in limits(small, measured)
        ],
    )
    yield _table(
        ("full at sockets", "what", "what is added"),
        [(_about(limit.most), limit.part, limit.instead) for limit in socket_limits(large)],
    )
    yield _table(
        ("orders/s", "sockets", *Size._fields),
        [
            (
                f"{orders:,}",
                f"{sockets:,}",
                *_ranges(*(size(orders, sockets, of, measured) for of in (large, small))),
            )
            for orders, sockets in STEPS
        ],
    )


def _for_ever(of: OrderCosts) -> float:
    return sum(of.table_bytes.values()) - of.table_bytes[INBOX]


def _most(of: OrderCosts) -> list[tuple[str, float]]:
    """What costs anything worth a line."""
    return [(name, us) for name, us in of.us.items() if us >= 0.01 * of.us_an_order]


def _about(most: float) -> str:
    """To two digits: it is no better known."""
    return f"{round(most, 1 - math.floor(math.log10(most))):,.0f}"


def _ranges(least: Size, most: Size) -> Iterator[str]:
    for low, high in zip(least, most, strict=True):
        yield f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(measured: Costs) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return draw(Path(folder), "sizing", "Machines", _machines(measured)) + "\n"


def _machines(measured: Costs) -> Draw:
    orders = [10 ** (exponent / 10) for exponent in range(20, 53)]

    def paint(axes: Axes) -> None:
        for of in (measured.orders[0], measured.orders[-1]):
            counts = [size(each, 0, of, measured).machines for each in orders]
            axes.plot(orders, counts, label=f"costs at {of.in_flight} in flight")
        axes.set(xscale="log", yscale="log", xlabel="orders a second", ylabel=f"machines of {CORES} cores")

    return paint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", type=Path, default=MEASURED)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", nargs="+", type=Path, metavar="REPORT.json", default=[])
    asked = parser.parse_args()
    measured = costs.read(asked.costs)
    if asked.check:
        print("\n".join(check(read(path), measured) for path in asked.check))
    elif asked.write:
        PAGE.write_text(filled(PAGE.read_text(), measured))
        PLOT.write_text(plot(measured))
    else:
        print("\n\n".join(tables(measured)))


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(str(error))
