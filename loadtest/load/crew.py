"""Starts the processes of the generator, hears what they say, and ends them."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex

import msgspec

from loadtest.load.messages import Failure, LoadProgress, Result, Share, Stage, decode_said, encode
from loadtest.load.parameters import Failed, Parameters

# A result is one line.
LONGEST_LINE = 2**28
ENDING_SECONDS = 5


class Member:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.progress = LoadProgress(Stage.STARTING)
        self.result: Result | None = None
        self._why = ""
        self._hearing = asyncio.create_task(self._hear())

    def tell(self, line: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + b"\n")

    async def _hear(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            match decode_said.decode(line):
                case LoadProgress() as progress:
                    self.progress = progress
                case Result() as result:
                    self.result = result
                    self.progress = msgspec.structs.replace(self.progress, stage=Stage.CHECKED)
                case Failure(why):
                    self._why = why

    def must_live(self) -> None:
        if self._hearing.done() and self.result is None:
            raise Failed(self._why or f"a process of the generator ended with {self.process.returncode}")

    async def end(self) -> None:
        self._hearing.cancel()
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(ENDING_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()


class Crew:
    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    @property
    def progress(self) -> LoadProgress:
        """Of all together; the stage is that of the last."""
        each = [member.progress for member in self._members]
        return LoadProgress(
            min(one.stage for one in each),
            sum(one.opened for one in each),
            sum(one.accepted for one in each),
            sum(one.told for one in each),
            sum(one.wrong for one in each),
        )

    @property
    def results(self) -> list[Result]:
        """Once everything is checked."""
        return [member.result for member in self._members if member.result]

    def tell(self, line: bytes) -> None:
        for member in self._members:
            member.tell(line)

    def must_live(self) -> None:
        for member in self._members:
            member.must_live()


@asynccontextmanager
async def crew(url: str, parameters: Parameters) -> AsyncGenerator[Crew]:
    members: list[Member] = []
    run = token_hex(4)
    try:
        for number, part in enumerate(parts(parameters)):
            members.append(Member(await _start()))
            members[-1].tell(encode(Share(url, number, run, part)))
        yield Crew(members)
    finally:
        await asyncio.gather(*(member.end() for member in members))


def parts(parameters: Parameters) -> list[Parameters]:
    """What each process has of the users, and of the orders."""
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
        limit=LONGEST_LINE,
        start_new_session=True,  # Ctrl-C is for the one who ends them
    )
