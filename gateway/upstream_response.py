"""The response of a replica, buffered or as a stream, and the exceptions for a missing response."""

import asyncio
from typing import Protocol

# A longer body is streamed.
BUFFERED_BODY_LIMIT = 64 * 1024
# If the client has not read this many bytes of a stream, the replica is not read either.
HIGH_WATER_BYTES = 256 * 1024

Headers = list[tuple[bytes, bytes]]


class Unreachable(Exception):
    """No connection could be made, so nothing was sent."""


class ConnectionBroken(Exception):
    """The connection ended early, or the response is malformed. The replica may have processed the request."""


class Stale(ConnectionBroken):
    """A connection that had been idle ended before the first byte of the response."""


class Source(Protocol):
    """The connection that delivers a response. `UpstreamConnection` documents the methods."""

    def await_data(self) -> None: ...

    def stop_timeout(self) -> None: ...

    def pause_reading(self) -> None: ...

    def fail(self, error: BaseException) -> None: ...


class UpstreamResponse:
    """The response of a replica. Header names are in lower case. `body` is None if the body is a stream.

    A body with a known length of at most BUFFERED_BODY_LIMIT bytes is `buffered`: the request returns when it is
    complete. If the connection breaks before that, the client receives an error instead of a truncated response.
    """

    def __init__(self, source: Source, status: int, headers: Headers, length: int | None) -> None:
        self.status = status
        self.headers = headers
        self.body: bytes | None = None
        self.buffered = length is not None and length <= BUFFERED_BODY_LIMIT
        self._source = source
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next_chunk(self) -> bytes:
        """Returns the next part of a stream, or empty bytes at its end. If the caller is slow, reading pauses."""
        while not self._parts and not self._ended:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            self._source.await_data()
            await self._waiter
        part = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if not self._ended:
            self._source.stop_timeout()
        return part

    async def read(self, limit: int) -> bytes:
        """Returns the whole body. Raises ConnectionBroken if a streamed body exceeds `limit` bytes."""
        if self.body is not None:
            return self.body
        read = bytearray()
        try:
            while part := await self.next_chunk():
                read += part
                if len(read) > limit:
                    raise ConnectionBroken(f"a response of more than {limit} bytes")
        finally:
            self.abandon()
        return bytes(read)

    def abandon(self, reason: BaseException | None = None) -> None:
        """Closes the connection unless the response is complete: the rest of the body will not be read."""
        if not self._ended:
            self._source.fail(reason or ConnectionBroken("abandoned"))

    # methods for the connection

    def add(self, data: bytes) -> None:
        self._parts.append(data)
        if not self.buffered:
            self._size += len(data)
            if self._size > HIGH_WATER_BYTES:
                self._source.pause_reading()
            self._wake()

    def end(self) -> None:
        self._ended = True
        if self.buffered:
            self.body = b"".join(self._parts)
        self._wake()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
