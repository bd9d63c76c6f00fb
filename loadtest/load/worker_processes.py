"""Starts the worker processes of the load generator, exchanges messages with them, and ends them."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex

import msgspec

from loadtest.load.messages import Failure, LoadProgress, Result, Stage, WorkerShare, decode_worker_message, encode
from loadtest.load.parameters import LoadError, Parameters

LINE_BYTES_LIMIT = 2**28  # a result is one line
END_SECONDS = 5


class WorkerProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.progress = LoadProgress(Stage.STARTING)
        self.result: Result | None = None
        self._why_failed = ""
        self._reading = asyncio.create_task(self._read_messages())

    def send(self, line: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + b"\n")

    async def _read_messages(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            match decode_worker_message.decode(line):
                case LoadProgress() as progress:
                    self.progress = progress
                case Result() as result:
                    self.result = result
                    self.progress = msgspec.structs.replace(self.progress, stage=Stage.CHECKED)
                case Failure(why):
                    self._why_failed = why

    def raise_if_failed(self) -> None:
        """Raises LoadError if the process ended without a result."""
        if self._reading.done() and self.result is None:
            exit_status = f"a process of the generator ended with {self.process.returncode}"
            raise LoadError(self._why_failed or exit_status)

    async def end(self) -> None:
        self._reading.cancel()
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()


class WorkerProcesses:
    def __init__(self, workers: Sequence[WorkerProcess]) -> None:
        self._workers = workers

    @property
    def progress(self) -> LoadProgress:
        """The sums over all workers, with the stage of the slowest one."""
        each = [worker.progress for worker in self._workers]
        return LoadProgress(
            min(one.stage for one in each),
            sum(one.opened for one in each),
            sum(one.accepted for one in each),
            sum(one.toasted for one in each),
            sum(one.wrong for one in each),
        )

    @property
    def results(self) -> list[Result]:
        """The results of all workers, once `progress` has the stage CHECKED."""
        return [worker.result for worker in self._workers if worker.result]

    def send(self, line: bytes) -> None:
        for worker in self._workers:
            worker.send(line)

    def raise_if_failed(self) -> None:
        for worker in self._workers:
            worker.raise_if_failed()


@asynccontextmanager
async def started_workers(url: str, parameters: Parameters) -> AsyncGenerator[WorkerProcesses]:
    workers: list[WorkerProcess] = []
    run = token_hex(4)
    try:
        for number, part in enumerate(split(parameters)):
            workers.append(WorkerProcess(await _start()))
            workers[-1].send(encode(WorkerShare(url, number, run, part)))
        yield WorkerProcesses(workers)
    finally:
        await asyncio.gather(*(worker.end() for worker in workers))


def split(parameters: Parameters) -> list[Parameters]:
    """Returns the parameters of each process, which divide users and orders among the processes."""
    n = parameters.processes
    return [
        msgspec.structs.replace(
            parameters,
            processes=1,
            users=_part(parameters.users, number, n),
            in_flight=_part(parameters.in_flight, number, n),
            rate=parameters.rate / n,
        )
        for number in range(n)
    ]


def _part(whole: int, number: int, of: int) -> int:
    return whole // of + (number < whole % of)


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.load.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_LIMIT,
        start_new_session=True,  # Ctrl-C must reach only this process, which then ends the workers
    )
