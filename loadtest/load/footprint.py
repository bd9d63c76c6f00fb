"""Measures what an order and a socket cost every part of a shop, and writes a costs.json for `loadtest.sizing`.

    python -m loadtest.load.footprint IN_FLIGHTS="16 256" IDLE_SOCKETS=3000

It starts a new shop, because processes reuse freed memory. Only the first sockets of a process show what memory a
socket needs.
"""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import aiohttp
import msgspec
from msgspec import Meta
from redis.asyncio import Redis
from rich.console import Console

from loadtest.load import costs, machine, wal_replay
from loadtest.load.command import main, new_folder
from loadtest.load.costs import Costs, OrderCosts, SocketCosts
from loadtest.load.local_shop import LocalShop
from loadtest.load.machine import ProgramUsage, Sample
from loadtest.load.parameters import Count, Dir, LoadError, Parameters, Seconds, Users, parse
from loadtest.load.report import EVERYTHING_ELSE, GENERATOR, Report, service_of
from loadtest.load.run import Watch, run
from loadtest.load.scale import PORTS, run_shop_command
from loadtest.load.stores import MARK, Stores
from loadtest.load.terminal import console, show_failures, show_progress

# RabbitMQ updates its count of published messages only every five seconds.
STATISTICS_SECONDS = 6.0
NOT_OF_THE_SHOP = GENERATOR, EVERYTHING_ELSE
IDLE_SECONDS = 30.0  # long enough for one ping on each socket
SOCKET_SERVICES = "nginx", "notifier"
BATCH = re.compile(r'^gozon_batch_size_(sum|count)\{.*\bstage="([^"]+)".*\} (\S+)', re.MULTILINE)


class Footprint(Parameters, frozen=True, kw_only=True):
    command: ClassVar[str] = "python -m loadtest.load.footprint"

    dir: Dir = ".run/footprint"
    users: Users = 1000
    seconds: Seconds = 15.0
    in_flights: Annotated[
        str,
        Meta(pattern=r"^[1-9]\d*( [1-9]\d*)*$", description="numbers of requests in flight to try, ascending"),
    ] = "16 256"
    idle_sockets: Annotated[Count, Meta(description="sockets that are open while almost no orders arrive")] = 3000


class StartAndEndWatch(Watch):
    """Samples thoroughly at the start of the load and at its end, while its sockets are still open."""

    def __init__(self) -> None:
        super().__init__(every=3600)

    async def sample(self, programs: Mapping[str, int]) -> None:
        self.samples.append(await asyncio.to_thread(machine.sample, programs, thorough=True))


class Meter:
    """Reads counters of a shop. The difference of two readings is the cost of the load between them."""

    def __init__(self, shop: LocalShop, stores: Stores) -> None:
        self._shop = shop
        self._stores = stores
        self._redis: Any = Redis.from_url(shop.redis)

    async def read(self) -> dict[str, float]:
        await asyncio.sleep(STATISTICS_SECONDS)
        found = {f"table {name}": mebibytes * 2**20 for name, mebibytes in (await self._stores.sizes()).items()}
        found["wal"] = await self._stores.wal_bytes()
        found["redis"] = (await self._redis.info("memory"))["used_memory"]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{self._shop.broker_management}/api/overview") as response:
                found["messages"] = (await response.json())["message_stats"].get("publish", 0)
            for url in self._shop.replica_urls.values():
                async with session.get(f"{url}/metrics") as response:
                    for kind, stage, value in BATCH.findall(await response.text()):
                        found[f"{kind} {stage}"] = found.get(f"{kind} {stage}", 0.0) + float(value)
        return found

    async def mark_bytes(self) -> float:
        """Returns the memory of the mark of one published event in Redis.

        Raises LoadError if there is no mark.
        """
        async for key in self._redis.scan_iter(match=f"*{MARK.decode()}*", count=5000):
            return await self._redis.memory_usage(key)
        raise LoadError("Redis holds no mark of an event")

    async def close(self) -> None:
        await self._redis.aclose()


async def measure_costs(asked: Footprint, out: Console) -> Costs:
    local = LocalShop(asked.dir)
    socket = await _measure_socket(asked, local, out)
    await wal_replay.checkpoint(local)
    loads = await _measure_orders(asked, local, out)
    return Costs(
        machine=machine.this_machine(),
        versions=machine.this_python() | await local.versions(),
        replicas=local.replicas,
        orders=loads,
        socket=socket,
        replayed_bytes=await wal_replay.bytes_per_second(local),
    )


async def _measure_orders(asked: Footprint, local: LocalShop, out: Console) -> list[OrderCosts]:
    stores = await Stores.of(local)
    meter = Meter(local, stores)
    try:
        return [await _order_costs(asked, int(in_flight), meter, out) for in_flight in asked.in_flights.split()]
    finally:
        await meter.close()
        await stores.close()


async def _measure_socket(asked: Footprint, local: LocalShop, out: Console) -> SocketCosts:
    before = machine.sample(await local.programs(), thorough=True)
    changes = {"users": asked.idle_sockets, "second_sockets": 0.0, "rate": 1.0, "seconds": IDLE_SECONDS}
    idle = msgspec.structs.replace(asked, **changes)
    watch = StartAndEndWatch()
    await _run_load(idle, watch, out)
    first, last = watch.samples
    mebibytes = {
        name: _service_usage(last, name).memory - _service_usage(before, name).memory for name in SOCKET_SERVICES
    }
    if any(map(math.isnan, mebibytes.values())):
        raise LoadError("cannot read the memory of nginx or the notifier: run this as their user or as root")
    seconds = {name: _service_usage(last, name).cpu - _service_usage(first, name).cpu for name in SOCKET_SERVICES}
    return SocketCosts(
        {name: taken * 2**20 / asked.idle_sockets for name, taken in mebibytes.items()},
        {name: 1e6 * taken / (last.at - first.at) / asked.idle_sockets for name, taken in seconds.items()},
    )


def _service_usage(sample: Sample, service: str) -> ProgramUsage:
    of_service = [usage for name, usage in sample.programs.items() if service_of(name) == service]
    return ProgramUsage(sum(usage.cpu for usage in of_service), sum(usage.memory for usage in of_service))


async def _order_costs(asked: Footprint, in_flight: int, meter: Meter, out: Console) -> OrderCosts:
    before = await meter.read()
    report = await _run_load(msgspec.structs.replace(asked, in_flight=in_flight), Watch(), out)
    after = await meter.read()
    took = {name: value - before.get(name, 0.0) for name, value in after.items()}
    mark = await meter.mark_bytes()
    batches = _with_prefix("sum ", took)
    return OrderCosts(
        in_flight=in_flight,
        orders_a_second=report.told_a_second,
        us={one.name: one.us_an_order for one, _ in report.services() if one.name not in NOT_OF_THE_SHOP},
        wal_bytes=took["wal"] / report.accepted,
        table_bytes={name: grown / report.accepted for name, grown in _with_prefix("table ", took).items()},
        messages=took["messages"] / report.accepted,
        batches={stage: events / took[f"count {stage}"] for stage, events in batches.items() if events},
        mark_bytes=mark,
        stream_bytes=took["redis"] / report.accepted - mark,
    )


def _with_prefix(prefix: str, found: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


async def _run_load(asked: Footprint, watch: Watch, out: Console) -> Report:
    """Raises LoadError if a verdict does not hold: costs of a shop that does not work correctly mean nothing."""
    with show_progress(out, asked) as show:
        report = await run(asked, show, watch)
    show_failures(out, report)
    if not report.holds:
        raise LoadError("a verdict does not hold, so the costs are not saved")
    return report


def footprint(words: Sequence[str]) -> bool:
    """Returns True. Raises LoadError if the costs cannot be measured."""
    asked, out = parse(Footprint, words), console()
    run_shop_command(asked, "clean")
    try:
        run_shop_command(asked, "up", *PORTS)
        found = asyncio.run(measure_costs(asked, out))
    finally:
        run_shop_command(asked, "down")
    path = new_folder(asked) / "costs.json"
    costs.write(found, path)
    out.print(f"{path}")
    return True


if __name__ == "__main__":
    main(footprint)
