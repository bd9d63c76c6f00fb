"""A model of capacity: the limits of each part, the machines that a load needs, and a check against a real load."""

import math
from typing import NamedTuple

from loadtest.load.costs import Costs, OrderCosts
from loadtest.load.parameters import LoadError, Parameters
from loadtest.load.report import EVERYTHING_ELSE, GENERATOR, Report
from shopkit.db.database import POOL_SIZE

# These numbers are assumptions, not measurements.
UTILIZATION = 0.6  # of all capacity; the rest is for peaks and for the load of a failed machine
CORES, MEMORY = 16, 64 * 2**30  # of a machine
MIN_MACHINES, MIN_REPLICAS = 3, 2  # replicas of each stateless service
SERVERS = {"postgres": 2, "rabbitmq": 3, "redis": 2}  # that do the same work: a primary and its standby, a quorum
QUEUES = 3  # busy queues, which share the work of RabbitMQ; the leader of each is one process
MARKED_SECONDS, KEPT_MESSAGES = 3600, 100  # notifier/fan_out.lua
CONNECTIONS = 297  # max_connections without the connections reserved for superusers
NGINX_CONNECTIONS, NOTIFIER_SOCKETS = 16_384, 5_000  # nginx.conf; sockets per notifier replica on Kubernetes

SERVICES = "gateway", "orders", "payments", "notifier", "nginx"
CELL = "a cell"
# The allowed factor between the model and a load. Three measurements of the costs with few requests in flight gave
# 4,800 to 7,600 µs per order, so the model cannot be more precise than that.
TOLERANCE = 1.6


class Limit(NamedTuple):
    """A part is full at `most` orders per second, or sockets. `remedy` is what must then be added."""

    part: str
    most: float
    remedy: str


class Size(NamedTuple):
    """The needs of a load: cells, processes of services, cores of PostgreSQL's primaries, and machines in total."""

    cells: int
    gateway: int
    orders: int
    payments: int
    notifier: int
    nginx: int
    postgres: int
    machines: int


def limits(of: OrderCosts, measured: Costs) -> list[Limit]:
    """Returns the limits of orders per second in one cell, the lowest first."""

    def full_at(service: str, cores: int = 1) -> float:
        return UTILIZATION * cores * 1e6 / of.us[service]

    processes = CONNECTIONS / POOL_SIZE
    accepting_and_charging = UTILIZATION * processes * 1e6 / (of.us["orders"] + of.us["payments"])
    found = [
        *(Limit(f"one process of {service}", full_at(service), "a replica") for service in SERVICES),
        Limit("PostgreSQL's connections", accepting_and_charging, "a higher `max_connections`"),
        Limit(f"PostgreSQL's {CORES} cores", full_at("postgres", CORES), CELL),
        Limit("a standby's replay of WAL", UTILIZATION * measured.replayed_bytes / of.wal_bytes, CELL),
        Limit("the leader of a queue", full_at("rabbitmq", QUEUES), CELL),
        Limit("Redis' one core", full_at("redis"), CELL),
        Limit("Redis' memory for the marks of events", UTILIZATION * MEMORY / MARKED_SECONDS / of.mark_bytes, CELL),
    ]
    return sorted(found, key=lambda limit: limit.most)


def socket_limits(of: OrderCosts) -> list[Limit]:
    return [
        Limit("a notifier, as Kubernetes scales it", NOTIFIER_SOCKETS, "a replica"),
        Limit("`worker_connections` of nginx", NGINX_CONNECTIONS / 2, "a worker"),
        Limit("Redis' memory for a user's stream", UTILIZATION * MEMORY / KEPT_MESSAGES / of.stream_bytes, CELL),
    ]


def size(orders: float, sockets: int, of: OrderCosts, measured: Costs) -> Size:
    cores = {
        service: (orders * us + sockets * measured.socket.us_a_second.get(service, 0.0)) / 1e6 / UTILIZATION
        for service, us in of.us.items()
    }
    notifiers, nginx_workers, cells = (sockets / limit.most for limit in socket_limits(of))
    minimum = dict.fromkeys(SERVICES, float(MIN_REPLICAS)) | {
        "notifier": max(MIN_REPLICAS, notifiers),
        "nginx": max(MIN_REPLICAS, nginx_workers),
    }
    processes = {service: math.ceil(max(cores[service], least)) for service, least in minimum.items()}
    one_cell = min(limit.most for limit in limits(of, measured) if limit.remedy == CELL)
    all_cores = sum(cores[service] * SERVERS.get(service, 1) for service in cores)
    memory = sockets * sum(measured.socket.bytes.values()) / UTILIZATION
    return Size(
        cells=math.ceil(max(1.0, orders / one_cell, cells)),
        **processes,
        postgres=math.ceil(cores["postgres"]),
        machines=math.ceil(max(MIN_MACHINES, all_cores / CORES, memory / MEMORY)),
    )


def us_per_order(in_flight: float, measured: Costs) -> float:
    """Returns the microseconds per order, interpolated between the two measured costs.

    The cost of an order is a constant plus its share of the cost of a batch, which is inversely proportional to the
    number of requests in flight.
    """
    small, large = measured.orders[0], measured.orders[-1]
    shared = (small.us_an_order - large.us_an_order) / (1 / small.in_flight - 1 / large.in_flight)
    return large.us_an_order + shared * (1 / in_flight - 1 / large.in_flight)


class Comparison(NamedTuple):
    ratio: float
    text: str

    @property
    def holds(self) -> bool:
        return 1 / TOLERANCE <= self.ratio <= TOLERANCE


def check(report: Report, measured: Costs) -> Comparison:
    """Compares the measured orders per second with the model.

    The model gets the cores that the generator and other programs left to the shop. Raises LoadError for a load
    that was not as fast as possible, or that had another mix of requests than the measured costs.
    """
    if not report.parameters.in_flight:
        raise LoadError("a load with a RATE does not show the maximum: use the report of a load with IN_FLIGHT=")
    if _mix(report.parameters) != _mix(Parameters()):
        raise LoadError("the load had another mix of orders, top-ups and reads than the measured costs")
    others = sum(one.share for one in report.processes if one.name in (GENERATOR, EVERYTHING_ELSE))
    busy = sum(one.share for one in report.processes)
    # Replicas divide the requests among them, so twice the replicas make batches of half the size.
    in_flight = report.parameters.in_flight * measured.replicas["orders"] / report.replicas["orders"]
    expected = (report.machine.cores - others) * 1e6 / us_per_order(in_flight, measured)
    ratio = report.told_a_second / expected
    return Comparison(
        ratio,
        f"{report.replicas['notifier']} notifiers, {report.replicas['orders']} others, "
        f"{report.parameters.in_flight} in flight: {expected:,.0f} orders/s expected, {report.told_a_second:,.0f} "
        f"measured, ratio {ratio:.2f}; the machine was busy to "
        f"{busy / report.machine.cores:.0%}",
    )


def _mix(parameters: Parameters) -> tuple[float, ...]:
    return parameters.declined, parameters.top_ups, parameters.reads, parameters.second_sockets
