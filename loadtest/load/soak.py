"""A long load at a moderate rate, which checks that memory, files, queues and tables do not grow.

make soak MINUTES=10        python -m loadtest.load.soak MINUTES=10
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

import aiohttp
import asyncpg
import msgspec
from msgspec import Meta
from redis.exceptions import RedisError

from loadtest.load import machine
from loadtest.load.checks import CheckResult
from loadtest.load.command import earlier, finish, main
from loadtest.load.local_shop import LocalShop
from loadtest.load.parameters import LoadError, Parameters, Positive, Rate, Users, parse
from loadtest.load.report import GENERATOR, Report
from loadtest.load.run import Show, Watch, run
from loadtest.load.stores import Stores
from loadtest.load.terminal import console, show_progress
from loadtest.load.trend import Series, bound, rise

SAMPLES_LIMIT = 360
SHORTEST_INTERVAL_SECONDS = 2.0
# RabbitMQ was seen to take nine seconds to count the messages of a new queue.
READ_SECONDS = 20
READ_ERRORS = OSError, aiohttp.ClientError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError

MEMORY, FILES, TASKS = "memory, MiB", "open files", "asyncio tasks"
WAITING, QUEUES, DEAD = "rows that wait", "messages in queues", "dead letters"
KEYS, TABLES = "keys in Redis", "tables, MiB"
LATENCY = "latency to toast, ms"
# The allowed rise in the last two thirds of the time: a share of the median, but at least the second number.
RISE_LIMITS = {
    MEMORY: (0.05, 4),
    FILES: (0.1, 16),
    TASKS: (0.1, 16),
    WAITING: (0.5, 100),
    QUEUES: (0.5, 100),
    KEYS: (0.05, 50),
    TABLES: (0.5, 8),
    LATENCY: (0.5, 10),
}
# RabbitMQ keeps the log of quorum queues in memory until it has 256 MiB (deploy/local/rabbitmq.conf). The next log
# fills while RabbitMQ writes the full one to disk.
RABBITMQ_MEMORY_LIMIT = 0.05, 512
# The rows of these tables are deleted after use. Other tables keep their rows for longer than a soak.
TRANSIENT_TABLES = "outbox", "inbox_in_hand"
# PostgreSQL and Redis fill their caches, and keep orders and, for an hour, the marks of published events.
GROWING_MEMORY = "postgres", "redis"


class Soaking(Parameters, frozen=True, kw_only=True):
    """The parameters of a soak. It reads databases and queues, so the shop must run on this machine."""

    command: ClassVar[str] = "make soak"

    minutes: Annotated[Positive, Meta(description="how long orders arrive; SECONDS has no effect")] = 60.0
    users: Users = 1000
    rate: Rate = 50.0


class SoakWatch(Watch):
    """Samples the programs thoroughly, and reads the shop's databases, queues, Redis and tasks."""

    def __init__(self, stores: Stores, every: float) -> None:
        super().__init__(every)
        self._readers: dict[str, Callable[[], Awaitable[Mapping[str, float]]]] = {
            TASKS: stores.tasks,
            WAITING: stores.waiting,
            QUEUES: stores.queues,
            DEAD: stores.dead_letters,
            KEYS: stores.keys,
            TABLES: stores.sizes,
        }
        self._points: dict[tuple[str, str], list[tuple[float, float]]] = {}
        self._unread: Counter[tuple[str, str]] = Counter()

    async def sample(self, programs: Mapping[str, int]) -> None:
        sample = await asyncio.to_thread(machine.sample, programs, thorough=True)
        self.samples.append(sample)
        second = sample.at - self.samples[0].at
        self._record(MEMORY, second, {name: usage.memory for name, usage in sample.programs.items()})
        self._record(FILES, second, {name: usage.files for name, usage in sample.programs.items()})
        for what, read in self._readers.items():
            self._record(what, second, await _read(read))

    def _record(self, what: str, second: float, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if math.isnan(value):
                self._unread[what, name] += 1
            else:
                self._points.setdefault((what, name), []).append((second, value))

    def series(self) -> Iterator[Series]:
        for (what, name), points in self._points.items():
            yield series_of(what, name, *zip(*points, strict=True))

    def everything_measured(self) -> CheckResult:
        unread = [
            {"what": what, "name": name, "not measured": times, "of": len(self.samples)}
            for (what, name), times in self._unread.items()
        ]
        read = sum(map(len, self._points.values()))
        verdict = CheckResult("measured", "Every value of the soak could be read at every sample.")
        return verdict.record(read + self._unread.total(), unread)


async def _read(read: Callable[[], Awaitable[Mapping[str, float]]]) -> Mapping[str, float]:
    """Returns NaN if a part of the shop is unavailable. The soak continues, and `everything_measured` fails."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await read()
    except READ_ERRORS as error:
        return {type(error).__name__: math.nan}


def latency(report: Report) -> Iterator[Series]:
    moments = [moment for moment in report.timeline if moment.to_toast.count]
    seconds = [moment.second for moment in moments]
    yield series_of(LATENCY, "p50", seconds, [moment.to_toast.p50 for moment in moments])
    yield series_of(LATENCY, "p99", seconds, [moment.to_toast.p99 for moment in moments])


def series_of(what: str, name: str, seconds: Sequence[float], values: Sequence[float]) -> Series:
    limits = _rise_limits(what, name)
    return Series(what, name, list(seconds), list(values), bound(values, *limits) if limits else None)


def _rise_limits(what: str, name: str) -> tuple[float, float] | None:
    """Returns None if the value may grow without limit, or if another verdict judges it."""
    if (
        name == GENERATOR
        or (what == MEMORY and name in GROWING_MEMORY)
        or (what == TABLES and not name.endswith(TRANSIENT_TABLES))
    ):
        return None
    return RABBITMQ_MEMORY_LIMIT if (what, name) == (MEMORY, "rabbitmq") else RISE_LIMITS.get(what)


def nothing_grows(series: Sequence[Series]) -> CheckResult:
    rising = [
        {"what": one.what, "name": one.name, "rises by": round(rise(one), 1), "may rise by": round(one.most, 1)}
        for one in series
        if one.most is not None and rise(one) > one.most
    ]
    verdict = CheckResult("flat", "In the last two thirds of the time nothing grows, except data of the orders.")
    return verdict.record(sum(one.most is not None for one in series), rising)


def no_new_dead_letters(series: Sequence[Series]) -> CheckResult:
    letters = [one for one in series if one.what == DEAD]
    new = [
        {"where": one.name, "at first": one.values[0], "at most": max(one.values)}
        for one in letters
        if max(one.values) > one.values[0]
    ]
    return CheckResult("dead letters", "No event was dead-lettered.").record(len(letters), new)


async def run_soak(parameters: Soaking, show: Show) -> Report:
    stores = await Stores.of(LocalShop(parameters.dir))
    watch = SoakWatch(stores, max(SHORTEST_INTERVAL_SECONDS, parameters.seconds / SAMPLES_LIMIT))
    try:
        report = await run(parameters, show, watch)
    finally:
        await stores.close()
    report.series = [*watch.series(), *latency(report)]
    report.verdicts += [
        nothing_grows(report.series),
        no_new_dead_letters(report.series),
        watch.everything_measured(),
    ]
    return report


def soak(words: Sequence[str]) -> bool:
    """Returns whether every verdict holds."""
    parameters, out = parse(Soaking, words), console()
    if parameters.url:
        raise LoadError("a soak needs a shop on this machine: it takes DIR, not URL")
    before = earlier(parameters)
    parameters = msgspec.structs.replace(parameters, seconds=parameters.minutes * 60)
    with show_progress(out, parameters) as show:
        report = asyncio.run(run_soak(parameters, show))
    return finish(out, report, before)


if __name__ == "__main__":
    main(soak)
