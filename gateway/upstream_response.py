"""The answer of a replica, whole or as a stream, and the ways in which there is none."""

import asyncio
from typing import Protocol

WHOLE_ANSWER = 64 * 1024
HIGH_WATER = 256 * 1024

Headers = list[tuple[bytes, bytes]]


class Unreachable(Exception):
    """No connection could be made, so nothing was sent."""


class ConnectionBroken(Exception):
    """The connection ended, or what came is no answer: nobody knows what became of the request."""


class Stale(ConnectionBroken):
    """A connection that had been idle ended before anything of an answer came."""


class Source(Protocol):
    """The connection that an answer comes from."""

    def flow(self) -> None: ...

    def hold(self) -> None: ...

    def pause(self) -> None: ...

    def fail(self, error: BaseException) -> None: ...


class UpstreamResponse:
    """Status and headers, with names in lower case, and `body`: all of it, or None where it is a stream.

    It is whole when it is short and says its length, so that one that breaks off is no answer at all.
    """

    def __init__(self, source: Source, status: int, headers: Headers, length: int | None) -> None:
        self.status = status
        self.headers = headers
        self.body: bytes | None = None
        self.whole = length is not None and length <= WHOLE_ANSWER
        self._source = source
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next_chunk(self) -> bytes:
        """The next part of a stream, empty at its end. The replica is read no faster than this is called."""
        while not self._parts and not self._ended:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            self._source.flow()
            await self._waiter
        part = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if not self._ended:
            self._source.hold()
        return part

    async def read(self, limit: int) -> bytes:
        """The whole body, wherever it is; a longer one raises BrokenOff."""
        if self.body is not None:
            return self.body
        read = bytearray()
        try:
            while part := await self.next_chunk():
                read += part
                if len(read) > limit:
                    raise ConnectionBroken(f"an answer of more than {limit} bytes")
        finally:
            self.leave()
        return bytes(read)

    def leave(self, reason: BaseException | None = None) -> None:
        """Nobody wants what may still come, so the connection is of no use any more."""
        if not self._ended:
            self._source.fail(reason or ConnectionBroken("left"))

    # the connection's side

    def add(self, data: bytes) -> None:
        self._parts.append(data)
        if not self.whole:
            self._size += len(data)
            if self._size > HIGH_WATER:
                self._source.pause()
            self._wake()

    def end(self) -> None:
        self._ended = True
        if self.whole:
            self.body = b"".join(self._parts)
        self._wake()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
