"""The client of the proxy: a pool of connections to each replica."""

import asyncio
import time
from collections.abc import AsyncIterator

from gateway.connection import UpstreamConnection
from gateway.upstream_response import Stale, Unreachable, UpstreamResponse
from shopkit.runtime.retry import pause
from shopkit.web.upstreams import Target

CONNECT_SECONDS = 3
LOOK_SECONDS = 0.5
IDLE_CONNECTIONS_LIMIT = 256

# To ask twice is the same as to ask once.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Client:
    """The pools, and the watch over the time that connections take, while it runs."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._pools: dict[tuple[str, int], ConnectionPool] = {}

    async def run(self) -> None:
        while not self._stopping.is_set():
            await pause(self._stopping, LOOK_SECONDS)
            for address, pool in list(self._pools.items()):
                pool.expire(time.monotonic())
                if pool.unused:
                    del self._pools[address]
        for pool in self._pools.values():
            pool.close()

    def stop(self) -> None:
        self._stopping.set()

    async def request(
        self, target: Target, method: str, request: bytes, body: AsyncIterator[bytes] | None = None
    ) -> UpstreamResponse:
        """Raises Unreachable when nothing was sent, BrokenOff or TimeoutError when nobody knows what became of it.

        A safe request that meets the end of an idle connection is sent once more, on a new one.
        """
        pool = self._pools.get(target.address) or self._pools.setdefault(
            target.address, ConnectionPool(target.address)
        )
        if (connection := pool.take()) is not None:
            try:
                return await connection.ask(request, without_body=method == "HEAD", body=body)
            except Stale:
                if method not in SAFE or body is not None:
                    raise
        connection = await pool.connect()
        return await connection.ask(request, without_body=method == "HEAD", body=body)


class ConnectionPool:
    """The connections to one replica."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._connecting = 0
        self._open: set[UpstreamConnection] = set()
        self._idle: list[UpstreamConnection] = []

    @property
    def unused(self) -> bool:
        return not self._open and not self._connecting

    def take(self) -> UpstreamConnection | None:
        """The one that rested last; those that are not needed are left to expire."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    async def connect(self) -> UpstreamConnection:
        self._connecting += 1
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self._rest, self._gone), *self._address
                )
        except OSError as error:  # the time that was up is one as well
            raise Unreachable(str(error)) from error
        finally:
            self._connecting -= 1
        if not connection.usable:
            connection.close()
            raise Unreachable("the connection ended at once, or something came before it was asked for")
        self._open.add(connection)
        return connection

    def expire(self, now: float) -> None:
        for connection in [connection for connection in self._open if connection.deadline < now]:
            connection.fail(TimeoutError())

    def close(self) -> None:
        for connection in list(self._open):
            connection.close()

    def _rest(self, connection: UpstreamConnection) -> None:
        if len(self._idle) < IDLE_CONNECTIONS_LIMIT:
            self._idle.append(connection)
        else:
            connection.close()

    def _gone(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
