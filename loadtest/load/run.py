"""One load: the generator at work, the machine watched, the books audited."""

import asyncio
import math
import os
import time
from collections.abc import Callable, Mapping

from loadtest.load import machine
from loadtest.load.checks import CheckResult
from loadtest.load.crew import Crew, crew
from loadtest.load.doubts import doubts
from loadtest.load.local import LocalShop
from loadtest.load.machine import Look
from loadtest.load.messages import LoadProgress, Result, Stage
from loadtest.load.parameters import Parameters
from loadtest.load.report import GENERATOR, Report
from loadtest.load.summary import summary

BEFORE_START = 0.5
SHOW_SECONDS = 0.2

Show = Callable[[LoadProgress, float], None]
"""Is called again and again with how far it is, and for how many seconds orders have been arriving."""


class Watch:
    """Looks at programs, `every` so many seconds, from the first moment of a load to the last."""

    def __init__(self, every: float = 1.0) -> None:
        self._every = every
        self._looking: asyncio.Task[None] | None = None
        self.looks: list[Look] = []

    async def look(self, programs: Mapping[str, int]) -> None:
        self.looks.append(machine.look(programs))

    def start(self, programs: Mapping[str, int]) -> None:
        self._looking = asyncio.create_task(self._look_again_and_again(programs))

    def must_live(self) -> None:
        """Raises what a look raised."""
        if self._looking and self._looking.done():
            self._looking.result()

    async def stop(self, programs: Mapping[str, int]) -> None:
        if self._looking:
            self._looking.cancel()
        self._looking = None
        await self.look(programs)

    async def _look_again_and_again(self, programs: Mapping[str, int]) -> None:
        while True:
            await self.look(programs)
            await asyncio.sleep(self._every)


async def run(parameters: Parameters, show: Show, watch: Watch | None = None) -> Report:
    """Raises Failed when the generator cannot do its work. Without an URL, the shop is the one on this machine."""
    watch = watch or Watch()
    shop = None if parameters.url else LocalShop(parameters.dir)
    programs = await shop.programs() if shop else {}
    url = shop.url if shop else parameters.url.rstrip("/")
    async with crew(url, parameters) as generator:
        start, results = await _measured(generator, programs | {GENERATOR: os.getpid()}, watch, show)
    report = summary(parameters, start, results, watch.looks)
    if shop:
        report.replicas = shop.replicas
        report.versions |= await shop.versions()
        report.verdicts += [
            nothing_restarted(programs, await shop.programs()),
            await shop.audit(parameters.patience),
        ]
    report.doubts = doubts(report)
    return report


async def _measured(
    generator: Crew, programs: Mapping[str, int], watch: Watch, show: Show
) -> tuple[float, list[Result]]:
    """When the load started, and what was found."""

    async def until(stage: Stage, start: float = math.inf) -> None:
        while (progress := generator.progress).stage < stage:
            generator.must_live()
            watch.must_live()
            show(progress, max(0.0, time.perf_counter() - start))
            await asyncio.sleep(SHOW_SECONDS)

    await until(Stage.READY)
    start = time.perf_counter() + BEFORE_START
    generator.tell(str(start).encode())
    await asyncio.sleep(BEFORE_START)
    watch.start(programs)
    await until(Stage.SETTLED, start)
    await watch.stop(programs)
    generator.tell(b"check")
    await until(Stage.CHECKED)
    return start, generator.results


def nothing_restarted(before: Mapping[str, int], after: Mapping[str, int]) -> CheckResult:
    """One that ran only before or only after is one as well."""
    all_of_them = before.keys() | after.keys()
    restarted = [{"program": name} for name in sorted(all_of_them) if before.get(name) != after.get(name)]
    return CheckResult("programs", "No part of the shop was started anew.").look(len(all_of_them), restarted)
