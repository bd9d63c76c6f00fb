"""What one order and one socket cost: measured by `loadtest.load.footprint`, reckoned with by `loadtest.sizing`."""

from pathlib import Path

import msgspec

from loadtest.load.machine import Machine
from loadtest.load.parameters import Failed


class OrderCosts(msgspec.Struct, frozen=True, kw_only=True):
    """At `in_flight` requests under way, divided by accepted orders. Their reads, top-ups and toasts are included.

    `us` are of a core, by service. `batches` are the events of a batch. `table_bytes` count indexes, and
    `mark_bytes` and `stream_bytes` are memory of Redis.
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
    """Of an idle socket, by service: memory, and microseconds of a core a second."""

    bytes: dict[str, float]
    us_a_second: dict[str, float]


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """`orders` begins with the smallest batches. `replayed_bytes` of WAL are those of a second of a core."""

    machine: Machine
    versions: dict[str, str]
    replicas: dict[str, int]
    orders: list[OrderCosts]
    socket: SocketCosts
    replayed_bytes: float


def write(costs: Costs, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(costs), indent=1) + b"\n")


def read(path: Path) -> Costs:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Costs)
    except (OSError, msgspec.DecodeError) as error:
        raise Failed(f"{path} holds no costs: {error}") from error
