"""The HTTP client of the gateway: a pool of connections to each replica."""

import asyncio
import time
from collections.abc import AsyncIterator

from gateway.connection import UpstreamConnection
from gateway.upstream_response import Stale, Unreachable, UpstreamResponse
from shopkit.runtime.retry import pause
from shopkit.web.upstreams import Target

CONNECT_SECONDS = 3
EXPIRY_CHECK_SECONDS = 0.5
IDLE_CONNECTIONS_LIMIT = 256

# The safe methods of RFC 9110: a repeated request has no other effect than a single one.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Client:
    """The connection pools of all replicas. While `run` runs, it closes connections that exceed their deadline."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._pools: dict[tuple[str, int], ConnectionPool] = {}

    async def run(self) -> None:
        while not self._stopping.is_set():
            await pause(self._stopping, EXPIRY_CHECK_SECONDS)
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
        """Sends a request and returns its response. `request` is the head and, without a `body` stream, the body.

        Raises Unreachable if nothing was sent. Raises ConnectionBroken or TimeoutError if the replica may have
        received the request. If the replica closes an idle connection just when a safe request is sent on it, the
        request is sent again on a new connection.
        """
        pool = self._pools.get(target.address) or self._pools.setdefault(
            target.address, ConnectionPool(target.address)
        )
        if (connection := pool.take()) is not None:
            try:
                return await connection.request(request, head_only=method == "HEAD", body=body)
            except Stale:
                if method not in SAFE_METHODS or body is not None:
                    raise
        connection = await pool.connect()
        return await connection.request(request, head_only=method == "HEAD", body=body)


class ConnectionPool:
    """The connections to one replica, in use and idle."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._connecting = 0
        self._open: set[UpstreamConnection] = set()
        self._idle: list[UpstreamConnection] = []

    @property
    def unused(self) -> bool:
        return not self._open and not self._connecting

    def take(self) -> UpstreamConnection | None:
        """Returns the idle connection that was used last, or None. The others may expire if they are not needed."""
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
                    lambda: UpstreamConnection(self._on_idle, self._on_closed), *self._address
                )
        except OSError as error:  # TimeoutError is an OSError
            raise Unreachable(str(error)) from error
        finally:
            self._connecting -= 1
        if not connection.usable:
            connection.close()
            raise Unreachable("the replica closed the connection immediately, or sent bytes before any request")
        self._open.add(connection)
        return connection

    def expire(self, now: float) -> None:
        for connection in [connection for connection in self._open if connection.deadline < now]:
            connection.fail(TimeoutError())

    def close(self) -> None:
        for connection in list(self._open):
            connection.close()

    def _on_idle(self, connection: UpstreamConnection) -> None:
        if len(self._idle) < IDLE_CONNECTIONS_LIMIT:
            self._idle.append(connection)
        else:
            connection.close()

    def _on_closed(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
