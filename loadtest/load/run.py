"""One load: the generator at work, the machine watched, the books audited."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from loadtest.load import machine
from loadtest.load.checks import Verdict
from loadtest.load.crew import Crew, crew
from loadtest.load.doubts import doubts
from loadtest.load.local import LocalShop
from loadtest.load.machine import Look
from loadtest.load.messages import Progress, Stage
from loadtest.load.parameters import Parameters
from loadtest.load.report import GENERATOR, Report
from loadtest.load.summary import summary

BEFORE_START = 0.5
SHOW_SECONDS = 0.2

Show = Callable[[Progress, float], None]
"""Is called again and again with how far it is, and for how many seconds orders have been arriving."""


class Watch:
    """Looks at programs, `every` so many seconds."""

    def __init__(self, every: float = 1.0) -> None:
        self._every = every
        self.looks: list[Look] = []

    async def look(self, programs: Mapping[str, int]) -> None:
        self.looks.append(machine.look(programs))

    async def keep_looking(self, programs: Mapping[str, int], until: asyncio.Event) -> None:
        """The last look is taken when it is over."""
        while not until.is_set():
            await self.look(programs)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await until.wait()
        await self.look(programs)


async def run(parameters: Parameters, show: Show, watch: Watch | None = None) -> Report:
    """Raises Failed when the generator cannot do its work. Without an URL, the shop is the one on this machine."""
    watch = watch or Watch()
    shop = None if parameters.url else LocalShop(parameters.dir)
    programs = await shop.programs() if shop else {}
    url = shop.url if shop else parameters.url.rstrip("/")
    async with crew(url, parameters) as generator:
        await _until(generator, Stage.READY, show, 0.0)
        start = time.perf_counter() + BEFORE_START
        generator.tell(str(start).encode())
        await asyncio.sleep(BEFORE_START)
        over = asyncio.Event()
        looking = asyncio.create_task(watch.keep_looking(programs | {GENERATOR: os.getpid()}, over))
        await _until(generator, Stage.SETTLED, show, start)
        over.set()
        await looking
        generator.tell(b"check")
        await _until(generator, Stage.CHECKED, show, start)
        report = summary(parameters, start, generator.results, watch.looks)
    if shop:
        report.replicas = shop.replicas
        report.versions |= await shop.versions()
        report.verdicts += [_nothing_restarted(programs, await shop.programs()), await shop.audit()]
    report.doubts = doubts(report)
    return report


async def _until(generator: Crew, stage: Stage, show: Show, start: float) -> None:
    while (progress := generator.progress).stage < stage:
        generator.must_live()
        show(progress, time.perf_counter() - start if start else 0.0)
        await asyncio.sleep(SHOW_SECONDS)


def _nothing_restarted(before: Mapping[str, int], after: Mapping[str, int]) -> Verdict:
    restarted = [{"program": name} for name, pid in before.items() if after.get(name) != pid]
    return Verdict("programs", "No part of the shop was started anew.").look(len(before), restarted)
