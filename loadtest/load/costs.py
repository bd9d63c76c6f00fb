"""The costs of one order and one socket. `loadtest.load.footprint` measures them, `loadtest.sizing` uses them."""

from pathlib import Path

import msgspec

from loadtest.load.machine import Machine
from loadtest.load.parameters import LoadError


class OrderCosts(msgspec.Struct, frozen=True, kw_only=True):
    """The mean costs of an accepted order, including its share of reads, top-ups and toasts.

    They are measured with `in_flight` requests in flight. `us` is microseconds of a core by service, `batches` the
    mean number of events in a batch by stage. `table_bytes` includes indexes. `mark_bytes` and `stream_bytes` are
    memory of Redis.
    """

    in_flight: int
    orders_a_second: float
    us: dict[str, float]
    wal_bytes: float
    table_bytes: dict[str, float]
    messages: float
    batches: dict[str, float]
    mark_bytes: float
    stream_bytes: float

    @property
    def us_an_order(self) -> float:
        return sum(self.us.values())


class SocketCosts(msgspec.Struct, frozen=True):
    """The costs of an idle socket by service: memory, and microseconds of a core per second."""

    bytes: dict[str, float]
    us_a_second: dict[str, float]


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a costs.json. `orders` is sorted by batch size, smallest first.

    `replayed_bytes` is the WAL that PostgreSQL replays per second of a core.
    """

    machine: Machine
    versions: dict[str, str]
    replicas: dict[str, int]
    orders: list[OrderCosts]
    socket: SocketCosts
    replayed_bytes: float


def write(costs: Costs, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(costs), indent=1) + b"\n")


def read(path: Path) -> Costs:
    """Raises LoadError if the file cannot be read or does not hold costs."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Costs)
    except (OSError, msgspec.DecodeError) as error:
        raise LoadError(f"{path} holds no costs: {error}") from error
