"""TCP proxies between services and servers, which faults can cut, hold or slow down."""

import asyncio
from contextlib import suppress
from typing import NamedTuple

CHUNK = 65536


class ProxiedConnection:
    """One proxied connection with its two ends."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self.ends = ends

    def abort(self) -> None:
        for end in self.ends:
            end.transport.abort()


class LinkRoute(NamedTuple):
    """The way from a service to the `real_port` of a server. The service connects to `port` instead."""

    service: str
    server: str
    port: int
    real_port: int

    @property
    def name(self) -> str:
        return f"{self.service} to {self.server}"


class Link:
    """A proxy for all connections of one route. Data flows in the directions `to_server` and `to_service`."""

    def __init__(self, route: LinkRoute) -> None:
        self.route = route
        self._connections: set[ProxiedConnection] = set()
        self._listener: asyncio.Server | None = None
        self._flowing = {"to_server": asyncio.Event(), "to_service": asyncio.Event()}
        self._latency = 0.0
        self._lossy_words: tuple[bytes, ...] = ()
        # Connections dropped, chunks held or slowed, and responses lost, since the link was last healed.
        self.affected = 0
        self.heal()

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._forward, "127.0.0.1", self.route.port)

    @property
    def in_use(self) -> bool:
        return bool(self._connections)

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.abort()

    def abort(self) -> None:
        self.affected += len(self._connections)
        for connection in self._connections:
            connection.abort()

    def hold(self, *directions: str) -> None:
        """Holds the data of `directions`, by default of both. Connections stay open, and new ones are accepted."""
        for direction in directions or self._flowing:
            self._flowing[direction].clear()

    def slow(self, seconds: float) -> None:
        """Delays each chunk by `seconds`, in both directions."""
        self._latency = seconds

    def lose_responses_to(self, *words: bytes) -> None:
        """Delivers each chunk with all of `words` to the server, and drops its connection before the response."""
        self._lossy_words = words

    def heal(self) -> int:
        """Ends all faults of this link. Returns how often they affected it."""
        for flowing in self._flowing.values():
            flowing.set()
        self._latency = 0.0
        self._lossy_words = ()
        affected, self.affected = self.affected, 0
        return affected

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.route.real_port)
        except OSError:
            writer.transport.abort()
            return
        connection = ProxiedConnection(writer, server_writer)
        self._connections.add(connection)
        await asyncio.gather(
            self._copy(connection, "to_server", reader, server_writer),
            self._copy(connection, "to_service", server_reader, writer),
        )
        self._connections.discard(connection)

    async def _copy(
        self,
        connection: ProxiedConnection,
        direction: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                self.affected += self._latency > 0 or not self._flowing[direction].is_set()
                await self._flowing[direction].wait()
                if self._latency:
                    await asyncio.sleep(self._latency)
                writer.write(data)
                if (
                    direction == "to_server"
                    and self._lossy_words
                    and all(word in data for word in self._lossy_words)
                ):
                    await self._lose_response(connection, writer)
                await writer.drain()
        await self._flowing[direction].wait()  # the end of a connection is held like its data
        writer.close()

    async def _lose_response(self, connection: ProxiedConnection, writer: asyncio.StreamWriter) -> None:
        self.affected += 1
        connection.ends[0].transport.abort()
        await asyncio.sleep(0.05)  # gives the server time to read and execute the statement
        writer.transport.abort()
