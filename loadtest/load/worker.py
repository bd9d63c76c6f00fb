"""A worker process of the generator. It has its own users, sends their part of the load and checks the results.

`worker_processes` starts it and reads its messages. The parent sends the WorkerShare, then the start time, then a
line to start the checks. Times are of `time.perf_counter`, which is one clock for all processes of a machine.
"""

import asyncio
import gc
import random
import resource
import sys
import time
from contextlib import suppress

import uvloop

from loadtest.load import measurements, settling
from loadtest.load.checks import judge
from loadtest.load.generator_usage import GeneratorUsage
from loadtest.load.journeys import Journeys
from loadtest.load.messages import (
    Failure,
    LoadProgress,
    Result,
    Stage,
    WorkerMessage,
    WorkerShare,
    decode_share,
    encode,
)
from loadtest.load.parameters import LoadError, Parameters
from loadtest.load.settling import for_each
from loadtest.load.target import LoadTarget
from loadtest.load.traffic import Traffic
from loadtest.load.users import User

CONNECTIONS = 4000
PROGRESS_SECONDS = 0.5
# The time to wait for duplicate toasts after the last expected one.
QUIET_SECONDS = 1.0
PARENT_ENDED = "the parent process has ended"


class LoadWorker:
    def __init__(self, share: WorkerShare) -> None:
        self.parameters = share.parameters
        seed = f"{share.parameters.seed} {share.number}"
        self.socket_random = random.Random(f"{seed} sockets")
        self.target = LoadTarget(share.url, CONNECTIONS)
        self.journeys = Journeys()
        self.users = [
            User(f"load-{share.run}-{share.number}-{n}", has_account, self.target, self.journeys)
            for n, has_account in enumerate(accounts(share.parameters))
        ]
        self.traffic = Traffic(share.parameters, self.users, seed, self.target.responses)
        self.usage = GeneratorUsage()
        self.stage = Stage.OPENING
        self.opened = 0

    async def set_up_users(self) -> None:
        second = self.parameters.second_sockets

        async def set_up(user: User) -> None:
            # There is no await before this draw, so the users draw in order and a seed gives the same sockets.
            await user.set_up(2 if self.socket_random.random() < second else 1)
            self.opened += 1

        await for_each(self.users, set_up)
        self.stage = Stage.READY

    async def load(self, start: float) -> None:
        """Sends the load, and returns when every order has its toasts or `patience` is over."""
        self.stage = Stage.LOADING
        await asyncio.sleep(max(0.0, start - time.perf_counter()))
        measuring = asyncio.create_task(self.usage.measure())
        if self.parameters.in_flight:
            await self.traffic.send_as_fast_as_possible(start)
        else:
            await self.traffic.send_by_plan(start)
        measuring.cancel()
        self.stage = Stage.WAITING
        await self._wait_for_toasts()
        self.traffic.give_up()
        self.stage = Stage.SETTLED

    async def finish(self, start: float) -> Result:
        """Returns the measurements of the load, and verdicts that include late responses and toasts.

        Closes all pages and connections.
        """
        self.stage = Stage.CHECKING
        seconds, traffic = self.parameters.seconds, self.traffic
        # In a thread, because after an hour of load this takes about as long as the notifier waits for a pong.
        result = await asyncio.to_thread(
            measurements.result, start, seconds, traffic, self.users, self.journeys, self.usage
        )
        await settling.repeat_unanswered(traffic, time.perf_counter() + self.parameters.patience)
        await self._wait_for_toasts()
        await asyncio.sleep(QUIET_SECONDS)
        until = time.perf_counter() + self.parameters.patience
        histories = await settling.histories(self.users, traffic.accepted, until)
        responses = self.target.responses
        held, lost = settling.check_sockets(self.users)
        result.errors = dict(responses.errors + lost)
        result.verdicts = [responses.verdict, held, *judge(histories)]
        for user in self.users:
            user.close_pages()
        self.target.pool.close()
        return result

    async def _wait_for_toasts(self) -> None:
        give_up = time.perf_counter() + self.parameters.patience
        while time.perf_counter() < give_up and (self.traffic.in_flight or any(u.waiting for u in self.users)):
            await asyncio.sleep(0.05)

    def progress(self) -> LoadProgress:
        toasted = sum(len(user.toasted_at) for user in self.users)
        wrong = self.target.responses.verdict.offenders
        return LoadProgress(self.stage, self.opened, len(self.traffic.accepted), toasted, wrong)


def accounts(parameters: Parameters) -> list[bool]:
    """Returns for each user whether it has an account.

    The users without one are half of the share `declined`, because they place half of the declined orders.
    """
    without = max(1, round(parameters.users * parameters.declined / 2)) if parameters.declined else 0
    return [n >= without for n in range(parameters.users)]


def send(message: WorkerMessage) -> None:
    try:
        sys.stdout.buffer.write(encode(message) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.exit(PARENT_ENDED)


async def receive() -> bytes:
    return await asyncio.to_thread(sys.stdin.buffer.readline) or sys.exit(PARENT_ENDED)


async def send_progress(worker: LoadWorker) -> None:
    while True:
        send(worker.progress())
        await asyncio.sleep(PROGRESS_SECONDS)


async def main() -> None:
    worker = LoadWorker(decode_share(await receive()))
    reporting = asyncio.create_task(send_progress(worker))
    try:
        await worker.set_up_users()
        send(worker.progress())
        start = float(await receive())
        await worker.load(start)
        send(worker.progress())
        await receive()  # sent when all workers have finished the load
        result = await worker.finish(start)
    except (LoadError, OSError, TimeoutError) as error:
        send(Failure(str(error) or repr(error)))
        return
    finally:
        reporting.cancel()
        with suppress(asyncio.CancelledError):
            await reporting
    send(result)


if __name__ == "__main__":
    gc.disable()  # the objects of a load are kept until the end or have no reference cycles
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    uvloop.run(main())
