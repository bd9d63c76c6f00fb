"""What an order and a socket take of every part of a new shop, into a costs.json for `loadtest.sizing`.

python -m loadtest.load.footprint IN_FLIGHTS="16 256" IDLE_SOCKETS=3000

The shop is new because memory that was used once is used again: only the first sockets of a process show theirs.
"""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import aiohttp
import msgspec
from msgspec import Meta
from redis.asyncio import Redis
from rich.console import Console

from loadtest.load import costs, machine, replay
from loadtest.load.command import main, new_folder
from loadtest.load.costs import Costs, OrderCosts, SocketCosts
from loadtest.load.local import LocalShop
from loadtest.load.machine import Look, ProcessorTime
from loadtest.load.parameters import Count, Dir, Failed, Parameters, Seconds, Users, parse
from loadtest.load.report import EVERYTHING_ELSE, GENERATOR, Report, service_of
from loadtest.load.run import Watch, run
from loadtest.load.scale import PORTS, shop
from loadtest.load.stores import MARK, Stores
from loadtest.load.terminal import console, show_broken, showing

# RabbitMQ counts what was published only every five.
STATISTICS_SECONDS = 6.0
NOT_OF_THE_SHOP = GENERATOR, EVERYTHING_ELSE
IDLE_SECONDS = 30.0  # each socket is asked once for a pong
HOLD_SOCKETS = "nginx", "notifier"
BATCH = re.compile(r'^gozon_batch_size_(sum|count)\{.*\bstage="([^"]+)".*\} (\S+)', re.MULTILINE)


class Footprint(Parameters, frozen=True, kw_only=True):
    dir: Dir = ".run/footprint"
    users: Users = 1000
    seconds: Seconds = 15.0
    in_flights: Annotated[
        str, Meta(pattern=r"^[1-9]\d*( [1-9]\d*)*$", description="counts of requests under way to try, rising")
    ] = "16 256"
    idle_sockets: Annotated[Count, Meta(description="sockets that are open while next to nothing happens")] = 3000


class Ends(Watch):
    """Looks thoroughly when the load starts and when it is over, its sockets still open."""

    def __init__(self) -> None:
        super().__init__(every=3600)

    async def look(self, programs: Mapping[str, int]) -> None:
        self.looks.append(await asyncio.to_thread(machine.look, programs, thorough=True))


class Meter:
    """Counters of a shop: what a load took is the difference of two readings."""

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
            async with session.get(f"{self._shop.broker_management}/api/overview") as answer:
                found["messages"] = (await answer.json())["message_stats"].get("publish", 0)
            for url in self._shop.addresses.values():
                async with session.get(f"{url}/metrics") as answer:
                    for kind, stage, value in BATCH.findall(await answer.text()):
                        found[f"{kind} {stage}"] = found.get(f"{kind} {stage}", 0.0) + float(value)
        return found

    async def mark_bytes(self) -> float:
        """Of the mark of one published event."""
        async for key in self._redis.scan_iter(match=f"*{MARK.decode()}*", count=5000):
            return await self._redis.memory_usage(key)
        raise Failed("Redis holds no mark of an event")

    async def close(self) -> None:
        await self._redis.aclose()


async def measured(asked: Footprint, out: Console) -> Costs:
    local = LocalShop(asked.dir)
    socket = await _socket(asked, local, out)
    await replay.checkpoint(local)
    loads = await _loads(asked, local, out)
    return Costs(
        machine=machine.this_machine(),
        versions=machine.this_python() | await local.versions(),
        replicas=local.replicas,
        orders=loads,
        socket=socket,
        replayed_bytes=await replay.bytes_a_second(local),
    )


async def _loads(asked: Footprint, local: LocalShop, out: Console) -> list[OrderCosts]:
    stores = await Stores.of(local)
    meter = Meter(local, stores)
    try:
        return [await _orders(asked, int(in_flight), meter, out) for in_flight in asked.in_flights.split()]
    finally:
        await meter.close()
        await stores.close()


async def _socket(asked: Footprint, local: LocalShop, out: Console) -> SocketCosts:
    before = machine.look(await local.programs(), thorough=True)
    more = {"users": asked.idle_sockets, "second_sockets": 0.0, "rate": 1.0, "seconds": IDLE_SECONDS}
    idle = msgspec.structs.replace(asked, **more)
    watch = Ends()
    await _loaded(idle, watch, out)
    first, last = watch.looks
    megabytes = {name: _of(last, name).memory - _of(before, name).memory for name in HOLD_SOCKETS}
    if any(map(math.isnan, megabytes.values())):
        raise Failed("the memory of a program cannot be read: whoever measures has to be its user, or root")
    seconds = {name: _of(last, name).cpu - _of(first, name).cpu for name in HOLD_SOCKETS}
    return SocketCosts(
        {name: taken * 2**20 / asked.idle_sockets for name, taken in megabytes.items()},
        {name: 1e6 * taken / (last.at - first.at) / asked.idle_sockets for name, taken in seconds.items()},
    )


def _of(look: Look, service: str) -> ProcessorTime:
    of_service = [taken for name, taken in look.programs.items() if service_of(name) == service]
    return ProcessorTime(sum(taken.cpu for taken in of_service), sum(taken.memory for taken in of_service))


async def _orders(asked: Footprint, in_flight: int, meter: Meter, out: Console) -> OrderCosts:
    before = await meter.read()
    report = await _loaded(msgspec.structs.replace(asked, in_flight=in_flight), Watch(), out)
    after = await meter.read()
    took = {name: value - before.get(name, 0.0) for name, value in after.items()}
    mark = await meter.mark_bytes()
    batches = _after("sum ", took)
    return OrderCosts(
        in_flight=in_flight,
        orders_a_second=report.told_a_second,
        us={one.name: one.us_an_order for one, _ in report.services() if one.name not in NOT_OF_THE_SHOP},
        wal_bytes=took["wal"] / report.accepted,
        table_bytes={name: grown / report.accepted for name, grown in _after("table ", took).items()},
        messages=took["messages"] / report.accepted,
        batches={stage: events / took[f"count {stage}"] for stage, events in batches.items() if events},
        mark_bytes=mark,
        stream_bytes=took["redis"] / report.accepted - mark,
    )


def _after(prefix: str, found: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


async def _loaded(asked: Footprint, watch: Watch, out: Console) -> Report:
    with showing(out, asked) as show:
        report = await run(asked, show, watch)
    show_broken(out, report)
    if not report.holds:
        raise Failed("what a shop costs that does not do its work is of no use")
    return report


def footprint(words: Sequence[str]) -> bool:
    asked, out = parse(Footprint, words), console()
    shop(asked, "clean")
    try:
        shop(asked, "up", *PORTS)
        found = asyncio.run(measured(asked, out))
    finally:
        shop(asked, "down")
    path = new_folder(asked) / "costs.json"
    costs.write(found, path)
    out.print(f"{path}")
    return True


if __name__ == "__main__":
    main(footprint)
