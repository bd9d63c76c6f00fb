"""What is full first, what so much load takes, and what the model says of a load that was measured."""

import math
from typing import NamedTuple

from loadtest.load.costs import Costs, OrderCosts
from loadtest.load.parameters import Failed, Parameters
from loadtest.load.report import EVERYTHING_ELSE, GENERATOR, Report
from shopkit.db.database import POOL_SIZE

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
CELL = "a cell"
# What the model and a load may differ by, either way: an order at few in flight cost 4,800 to 7,600 us when it was
# measured three times, and no more can be asked of what is reckoned with it.
TOLERATED = 1.6


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

    processes = CONNECTIONS / POOL_SIZE
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


class Comparison(NamedTuple):
    ratio: float
    words: str

    @property
    def holds(self) -> bool:
        return 1 / TOLERATED <= self.ratio <= TOLERATED


def check(report: Report, measured: Costs) -> Comparison:
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
    ratio = report.told_a_second / expected
    return Comparison(
        ratio,
        f"{report.replicas['notifier']} notifiers, {report.replicas['orders']} others, "
        f"{report.parameters.in_flight} in flight: {expected:,.0f} orders/s expected, {report.told_a_second:,.0f} "
        f"measured, ratio {ratio:.2f}; the machine was busy to "
        f"{taken / report.machine.cores:.0%}",
    )


def _mix(asked: Parameters) -> tuple[float, ...]:
    return asked.declined, asked.top_ups, asked.reads, asked.second_sockets
