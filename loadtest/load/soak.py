"""A long load at a moderate rate, and whether all that is not an order stays as it is.

make soak MINUTES=10        python -m loadtest.load.soak MINUTES=10
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Annotated

import aiohttp
import asyncpg
import msgspec
from msgspec import Meta
from redis.exceptions import RedisError

from loadtest.load import machine
from loadtest.load.checks import CheckResult
from loadtest.load.command import earlier, finish, main
from loadtest.load.local import LocalShop
from loadtest.load.parameters import Failed, Parameters, Positive, Rate, Users, parse
from loadtest.load.report import GENERATOR, Report
from loadtest.load.run import Show, Watch, run
from loadtest.load.stores import Stores
from loadtest.load.terminal import console, showing
from loadtest.load.trend import Series, bound, rise

SAMPLES_LIMIT = 360
LEAST_SECONDS = 2.0
# RabbitMQ was seen to take nine to count the messages of a new queue.
READ_SECONDS = 20
AWAY = OSError, aiohttp.ClientError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError

MEMORY, FILES, TASKS = "memory, MiB", "open files", "asyncio tasks"
WAITING, QUEUES, DEAD = "rows that wait", "messages in queues", "dead letters"
KEYS, TABLES = "keys in Redis", "tables, MiB"
LATENCY = "latency to toast, ms"
# What each may rise by in the last two thirds: a share of its median, or so much when that is little.
MAY_RISE = {
    MEMORY: (0.05, 4),
    FILES: (0.1, 16),
    TASKS: (0.1, 16),
    WAITING: (0.5, 100),
    QUEUES: (0.5, 100),
    KEYS: (0.05, 50),
    TABLES: (0.5, 8),
    LATENCY: (0.5, 10),
}
# The log of quorum queues lies in memory until 256 MiB are full (deploy/local/rabbitmq.conf), and the next one
# fills while it is written out.
MEMORY_OF_RABBITMQ = 0.05, 512
# Tables whose rows come and go; the others keep what they are given.
PASSED_THROUGH = "outbox", "inbox_in_hand"
# Their caches fill up, and they keep the orders themselves and, for an hour, the marks of their events.
KEEP_MORE = "postgres", "redis"


class Soaking(Parameters, frozen=True, kw_only=True):
    """A soak looks into the shop, so it takes one on this machine."""

    minutes: Annotated[Positive, Meta(description="how long orders arrive; SECONDS says nothing here")] = 60.0
    users: Users = 1000
    rate: Rate = 50.0


class Soak(Watch):
    def __init__(self, stores: Stores, every: float) -> None:
        super().__init__(every)
        self._reads: dict[str, Callable[[], Awaitable[Mapping[str, float]]]] = {
            TASKS: stores.tasks,
            WAITING: stores.waiting,
            QUEUES: stores.queues,
            DEAD: stores.dead_letters,
            KEYS: stores.keys,
            TABLES: stores.sizes,
        }
        self._found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        self._unread: Counter[tuple[str, str]] = Counter()

    async def look(self, programs: Mapping[str, int]) -> None:
        look = await asyncio.to_thread(machine.look, programs, thorough=True)
        self.looks.append(look)
        second = look.at - self.looks[0].at
        self._note(MEMORY, second, {name: taken.memory for name, taken in look.programs.items()})
        self._note(FILES, second, {name: taken.files for name, taken in look.programs.items()})
        for what, read in self._reads.items():
            self._note(what, second, await _read(read))

    def _note(self, what: str, second: float, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if math.isnan(value):
                self._unread[what, name] += 1
            else:
                self._found.setdefault((what, name), []).append((second, value))

    def series(self) -> Iterator[Series]:
        for (what, name), points in self._found.items():
            yield series_of(what, name, *zip(*points, strict=True))

    def measured(self) -> CheckResult:
        unread = [
            {"what": what, "name": name, "not measured": times, "of": len(self.looks)}
            for (what, name), times in self._unread.items()
        ]
        read = sum(map(len, self._found.values()))
        verdict = CheckResult("measured", "Whatever a soak watches could be read at every look.")
        return verdict.look(read + self._unread.total(), unread)


async def _read(read: Callable[[], Awaitable[Mapping[str, float]]]) -> Mapping[str, float]:
    """A part that is away for a while does not end the soak; `measured` says that it was."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await read()
    except AWAY as error:
        return {type(error).__name__: math.nan}


def latency(report: Report) -> Iterator[Series]:
    moments = [moment for moment in report.timeline if moment.to_toast.count]
    seconds = [moment.second for moment in moments]
    yield series_of(LATENCY, "p50", seconds, [moment.to_toast.p50 for moment in moments])
    yield series_of(LATENCY, "p99", seconds, [moment.to_toast.p99 for moment in moments])


def series_of(what: str, name: str, seconds: Sequence[float], values: Sequence[float]) -> Series:
    limits = _may_rise(what, name)
    return Series(what, name, list(seconds), list(values), bound(values, *limits) if limits else None)


def _may_rise(what: str, name: str) -> tuple[float, float] | None:
    """Nothing where it may grow without a limit, or where another verdict judges it."""
    if (
        name == GENERATOR
        or (what == MEMORY and name in KEEP_MORE)
        or (what == TABLES and not name.endswith(PASSED_THROUGH))
    ):
        return None
    return MEMORY_OF_RABBITMQ if (what, name) == (MEMORY, "rabbitmq") else MAY_RISE.get(what)


def flat(series: Sequence[Series]) -> CheckResult:
    rising = [
        {"what": one.what, "name": one.name, "rises by": round(rise(one), 1), "may rise by": round(one.most, 1)}
        for one in series
        if one.most is not None and rise(one) > one.most
    ]
    verdict = CheckResult("flat", "Nothing but the orders themselves grows in the last two thirds of the time.")
    return verdict.look(sum(one.most is not None for one in series), rising)


def none_set_aside(series: Sequence[Series]) -> CheckResult:
    letters = [one for one in series if one.what == DEAD]
    new = [
        {"where": one.name, "at first": one.values[0], "at most": max(one.values)}
        for one in letters
        if max(one.values) > one.values[0]
    ]
    return CheckResult("dead letters", "No event was set aside.").look(len(letters), new)


async def soaked(parameters: Soaking, show: Show) -> Report:
    stores = await Stores.of(LocalShop(parameters.dir))
    watch = Soak(stores, max(LEAST_SECONDS, parameters.seconds / SAMPLES_LIMIT))
    try:
        report = await run(parameters, show, watch)
    finally:
        await stores.close()
    report.series = [*watch.series(), *latency(report)]
    report.verdicts += [flat(report.series), none_set_aside(report.series), watch.measured()]
    return report


def soak(words: Sequence[str]) -> bool:
    """Whether every verdict holds."""
    parameters, out = parse(Soaking, words), console()
    if parameters.url:
        raise Failed("a soak looks into the shop: it takes DIR, not URL")
    before = earlier(parameters)
    parameters = msgspec.structs.replace(parameters, seconds=parameters.minutes * 60)
    with showing(out, parameters) as show:
        report = asyncio.run(soaked(parameters, show))
    return finish(out, report, before)


if __name__ == "__main__":
    main(soak)
