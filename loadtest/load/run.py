"""One load: runs the generator, measures the machine meanwhile, and audits the shop afterwards."""

import asyncio
import math
import os
import time
from collections.abc import Callable, Mapping

from loadtest.load import machine
from loadtest.load.checks import CheckResult
from loadtest.load.local_shop import LocalShop
from loadtest.load.machine import Sample
from loadtest.load.messages import LoadProgress, Result, Stage
from loadtest.load.parameters import Parameters
from loadtest.load.report import GENERATOR, Report
from loadtest.load.self_checks import failed_self_checks
from loadtest.load.summary import summary
from loadtest.load.worker_processes import WorkerProcesses, started_workers

START_DELAY_SECONDS = 0.5
SHOW_SECONDS = 0.2

Show = Callable[[LoadProgress, float], None]
"""Called every SHOW_SECONDS with the progress, and the seconds since the first order was due."""


class Watch:
    """Samples the programs of the shop every `every` seconds, from the start of a load to its end."""

    def __init__(self, every: float = 1.0) -> None:
        self._every = every
        self._sampling: asyncio.Task[None] | None = None
        self.samples: list[Sample] = []

    async def sample(self, programs: Mapping[str, int]) -> None:
        self.samples.append(machine.sample(programs))

    def start(self, programs: Mapping[str, int]) -> None:
        self._sampling = asyncio.create_task(self._sample_repeatedly(programs))

    def raise_if_failed(self) -> None:
        """Raises the exception that ended the sampling, if there is one."""
        if self._sampling and self._sampling.done():
            self._sampling.result()

    async def stop(self, programs: Mapping[str, int]) -> None:
        if self._sampling:
            self._sampling.cancel()
        self._sampling = None
        await self.sample(programs)

    async def _sample_repeatedly(self, programs: Mapping[str, int]) -> None:
        while True:
            await self.sample(programs)
            await asyncio.sleep(self._every)


async def run(parameters: Parameters, show: Show, watch: Watch | None = None) -> Report:
    """Loads the shop at `parameters.url`, or the one in `parameters.dir` on this machine.

    Raises LoadError if the generator fails.
    """
    watch = watch or Watch()
    shop = None if parameters.url else LocalShop(parameters.dir)
    programs = await shop.programs() if shop else {}
    url = shop.url if shop else parameters.url.rstrip("/")
    async with started_workers(url, parameters) as workers:
        start, results = await _measured(workers, programs | {GENERATOR: os.getpid()}, watch, show)
    report = summary(parameters, start, results, watch.samples)
    if shop:
        report.replicas = shop.replicas
        report.versions |= await shop.versions()
        report.verdicts += [
            nothing_restarted(programs, await shop.programs()),
            await shop.audit(parameters.patience),
        ]
    report.doubts = failed_self_checks(report)
    return report


async def _measured(
    workers: WorkerProcesses, programs: Mapping[str, int], watch: Watch, show: Show
) -> tuple[float, list[Result]]:
    """Returns when the load started, and the results of the workers."""

    async def until(stage: Stage, start: float = math.inf) -> None:
        while (progress := workers.progress).stage < stage:
            workers.raise_if_failed()
            watch.raise_if_failed()
            show(progress, max(0.0, time.perf_counter() - start))
            await asyncio.sleep(SHOW_SECONDS)

    await until(Stage.READY)
    start = time.perf_counter() + START_DELAY_SECONDS
    workers.send(str(start).encode())
    await asyncio.sleep(START_DELAY_SECONDS)
    watch.start(programs)
    await until(Stage.SETTLED, start)
    await watch.stop(programs)
    workers.send(b"check")
    await until(Stage.CHECKED)
    return start, workers.results


def nothing_restarted(before: Mapping[str, int], after: Mapping[str, int]) -> CheckResult:
    """Compares process ids. A program that ran only before or only after counts as restarted."""
    names = before.keys() | after.keys()
    restarted = [{"program": name} for name in sorted(names) if before.get(name) != after.get(name)]
    return CheckResult("programs", "No part of the shop was restarted.").record(len(names), restarted)
