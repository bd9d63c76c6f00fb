"""Ways between a service and what it needs: TCP through this process, which can be cut, held up or slowed."""

import asyncio
from contextlib import suppress
from typing import NamedTuple

CHUNK = 65536


class Line:
    """One connection; bytes go `there`, from the service to the server, and `back`."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self.ends = ends

    def abort(self) -> None:
        for end in self.ends:
            end.transport.abort()


class LinkRoute(NamedTuple):
    """From a service to a server's port, by a port of ours."""

    service: str
    server: str
    port: int
    real_port: int

    @property
    def name(self) -> str:
        return f"{self.service} to {self.server}"


class Link:
    def __init__(self, route: LinkRoute) -> None:
        self.route = route
        self._lines: set[Line] = set()
        self._listener: asyncio.Server | None = None
        self._flowing = {"there": asyncio.Event(), "back": asyncio.Event()}
        self._latency = 0.0
        self._snare: tuple[bytes, ...] = ()
        self.touched = 0  # connections ended, data held up or slowed, answers lost, since it was well
        self.heal()

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._forward, "127.0.0.1", self.route.port)

    @property
    def used(self) -> bool:
        return bool(self._lines)

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.abort()

    def abort(self) -> None:
        self.touched += len(self._lines)
        for line in self._lines:
            line.abort()

    def hold(self, *directions: str) -> None:
        """Connections stay, new ones are taken, and nothing goes through, or nothing in one direction."""
        for direction in directions or self._flowing:
            self._flowing[direction].clear()

    def slow(self, seconds: float) -> None:
        """Each chunk takes so long in each direction."""
        self._latency = seconds

    def lose_answers_to(self, *words: bytes) -> None:
        """What holds all of `words` arrives there, and the connection ends before the answer comes back."""
        self._snare = words

    def heal(self) -> int:
        """How much was touched."""
        for flowing in self._flowing.values():
            flowing.set()
        self._latency = 0.0
        self._snare = ()
        touched, self.touched = self.touched, 0
        return touched

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.route.real_port)
        except OSError:
            writer.transport.abort()
            return
        line = Line(writer, there_writer)
        self._lines.add(line)
        await asyncio.gather(
            self._copy(line, "there", reader, there_writer), self._copy(line, "back", there_reader, writer)
        )
        self._lines.discard(line)

    async def _copy(
        self, line: Line, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                self.touched += self._latency > 0 or not self._flowing[direction].is_set()
                await self._flowing[direction].wait()
                if self._latency:
                    await asyncio.sleep(self._latency)
                writer.write(data)
                if direction == "there" and self._snare and all(words in data for words in self._snare):
                    await self._lose_answer(line, writer)
                await writer.drain()
        await self._flowing[direction].wait()  # an end is held up as well
        writer.close()

    async def _lose_answer(self, line: Line, writer: asyncio.StreamWriter) -> None:
        self.touched += 1
        line.ends[0].transport.abort()
        await asyncio.sleep(0.05)  # until the server has read it and done it
        writer.transport.abort()
