"""A process of the generator: has users of its own, sends their share of the load and judges what came of it.

`crew` starts it and reads what it says; it tells the process its Share, then the moment to start, then to check.
Moments are those of `time.perf_counter`, which is one clock for all processes of a machine.
"""

import asyncio
import gc
import random
import resource
import sys
import time
from contextlib import suppress

import uvloop

from loadtest.load import figures, settling
from loadtest.load.checks import judge
from loadtest.load.effort import Effort
from loadtest.load.entrance import Entrance
from loadtest.load.journeys import Journeys
from loadtest.load.messages import Failure, LoadProgress, Result, Said, Share, Stage, decode_share, encode
from loadtest.load.parameters import Failed, Parameters
from loadtest.load.settling import each
from loadtest.load.traffic import Traffic
from loadtest.load.users import User

CONNECTIONS = 4000
SAY_SECONDS = 0.5
# After the last toast: time for one too many.
QUIET_SECONDS = 1.0
NOBODY = "whoever started this is gone"


class LoadWorker:
    def __init__(self, share: Share) -> None:
        self.parameters = share.parameters
        seed = f"{share.parameters.seed} {share.number}"
        self.sockets = random.Random(f"{seed} sockets")
        self.entrance = Entrance(share.url, CONNECTIONS)
        self.journeys = Journeys()
        self.users = [
            User(f"load-{share.run}-{share.number}-{n}", has_account, self.entrance, self.journeys)
            for n, has_account in enumerate(accounts(share.parameters))
        ]
        self.traffic = Traffic(share.parameters, self.users, seed, self.entrance.answers)
        self.effort = Effort()
        self.stage = Stage.OPENING
        self.opened = 0

    async def arrive(self) -> None:
        second = self.parameters.second_sockets

        async def arrives(user: User) -> None:
            # Nothing waits before this, so the users draw in their order.
            await user.arrive(2 if self.sockets.random() < second else 1)
            self.opened += 1

        await each(self.users, arrives)
        self.stage = Stage.READY

    async def load(self, start: float) -> None:
        """Until every order has its toasts, or patience is over."""
        self.stage = Stage.LOADING
        await asyncio.sleep(max(0.0, start - time.perf_counter()))
        feeling = asyncio.create_task(self.effort.feel())
        if self.parameters.in_flight:
            await self.traffic.as_fast_as_possible(start)
        else:
            await self.traffic.by_plan(start)
        feeling.cancel()
        self.stage = Stage.WAITING
        await self._told()
        self.traffic.give_up()
        self.stage = Stage.SETTLED

    async def judged(self, start: float) -> Result:
        """What was measured, and a verdict on everything, however late it came."""
        self.stage = Stage.CHECKING
        seconds, traffic = self.parameters.seconds, self.traffic
        # Not in the loop: after an hour it takes about as long as the notifier waits for an answer to a ping.
        result = await asyncio.to_thread(
            figures.result, start, seconds, traffic, self.users, self.journeys, self.effort
        )
        await settling.send_again(traffic, time.perf_counter() + self.parameters.patience)
        await self._told()
        await asyncio.sleep(QUIET_SECONDS)
        until = time.perf_counter() + self.parameters.patience
        histories = await settling.histories(self.users, traffic.accepted, until)
        answers = self.entrance.answers
        held, lost = settling.sockets_held(self.users)
        result.errors = dict(answers.errors + lost)
        result.verdicts = [answers.verdict, held, *judge(histories)]
        for user in self.users:
            user.leave()
        self.entrance.pool.close()
        return result

    async def _told(self) -> None:
        give_up = time.perf_counter() + self.parameters.patience
        while time.perf_counter() < give_up and (self.traffic.under_way or any(u.waits for u in self.users)):
            await asyncio.sleep(0.05)

    def progress(self) -> LoadProgress:
        told = sum(len(user.told) for user in self.users)
        wrong = self.entrance.answers.verdict.offenders
        return LoadProgress(self.stage, self.opened, len(self.traffic.accepted), told, wrong)


def accounts(parameters: Parameters) -> list[bool]:
    """Which users have one: all but the part that places the orders without one."""
    without = max(1, round(parameters.users * parameters.declined / 2)) if parameters.declined else 0
    return [n >= without for n in range(parameters.users)]


def say(said: Said) -> None:
    try:
        sys.stdout.buffer.write(encode(said) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.exit(NOBODY)


async def hear() -> bytes:
    return await asyncio.to_thread(sys.stdin.buffer.readline) or sys.exit(NOBODY)


async def report(worker: LoadWorker) -> None:
    while True:
        say(worker.progress())
        await asyncio.sleep(SAY_SECONDS)


async def main() -> None:
    worker = LoadWorker(decode_share(await hear()))
    reporting = asyncio.create_task(report(worker))
    try:
        await worker.arrive()
        say(worker.progress())
        start = float(await hear())
        await worker.load(start)
        say(worker.progress())
        await hear()  # until the others have come as far
        result = await worker.judged(start)
    except (Failed, OSError, TimeoutError) as error:
        say(Failure(str(error) or repr(error)))
        return
    finally:
        reporting.cancel()
        with suppress(asyncio.CancelledError):
            await reporting
    say(result)


if __name__ == "__main__":
    gc.disable()  # what a load makes is kept, or has no cycles
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(main())
