"""An HTTP client that costs as little as possible beside what it measures; `loadtest.bench.clients` says how much.

Requests are bytes made beforehand, answers are parsed by httptools without looking at their headers, and what
becomes of a request is told by a call, so that there is neither a task nor a future a request.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

CONNECT_SECONDS = 10


class PendingRequest:
    """One request, until it is answered. `sent` is when it was written to a connection."""

    __slots__ = ("request", "sent")

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.sent = 0.0

    def answered(self, status: int, body: bytes, at: float) -> None:
        """Status 0 says that no answer came, and `body` why. `at` is a time of `time.perf_counter`."""
        raise NotImplementedError


class Response(NamedTuple):
    status: int
    body: bytes


class _Asked(PendingRequest):
    __slots__ = ("answer",)

    def __init__(self, request: bytes) -> None:
        super().__init__(request)
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def answered(self, status: int, body: bytes, at: float) -> None:  # noqa: ARG002
        if not self.answer.done():
            self.answer.set_result(Response(status, body))


class Pool:
    """Connections to the server at `url`, opened when they are needed and kept: `most` at once.

    Each carries one request at a time. What finds no connection waits for one, in order.
    """

    def __init__(self, url: str, most: int) -> None:
        self._address = address(url)
        self._most = most
        self._waiting: deque[PendingRequest] = deque()
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._count = 0  # of all that are open or opening

    def send(self, call: PendingRequest) -> None:
        if self._idle:
            self._idle.pop().carry(call)
        else:
            self._waiting.append(call)
            self._grow()

    async def ask(self, request: bytes) -> Response:
        asked = _Asked(request)
        self.send(asked)
        return await asked.answer

    def close(self) -> None:
        for connection in list(self._open):
            connection.close()

    def _grow(self) -> None:
        if self._count < self._most:
            self._count += 1
            task = asyncio.create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        host, port, tls = self._address
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: _Connection(self), host, port, ssl=tls)
        except OSError as error:  # a TimeoutError is one
            self._count -= 1
            if self._waiting:
                why = f"no connection: {type(error).__name__}".encode()
                self._waiting.popleft().answered(0, why, time.perf_counter())

    def free(self, connection: "_Connection") -> None:
        self._open.add(connection)
        if self._waiting:
            connection.carry(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        self._count -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting:
            self._grow()


class _Connection(asyncio.Protocol):
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._call: PendingRequest | None = None
        self._body = b""
        self._complete = self._stays = False

    def carry(self, call: PendingRequest) -> None:
        self._call = call
        call.sent = time.perf_counter()
        self._transport.write(call.request)

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._pool.free(self)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._complete = True
        self._stays = self._parser.should_keep_alive()  # it knows only now

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._stays = False
            self._finish(0, b"not HTTP")
            return
        if self._complete:
            self._complete = False
            self._finish(self._parser.get_status_code(), self._body)

    def _finish(self, status: int, body: bytes) -> None:
        at = time.perf_counter()
        call, self._call, self._body = self._call, None, b""
        if self._stays:
            self._pool.free(self)
        else:
            self._transport.close()
        if call is not None:
            call.answered(status, body, at)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._pool.lost(self)
        if self._call is not None:
            call, self._call = self._call, None
            call.answered(0, b"connection lost", time.perf_counter())


def address(url: str) -> tuple[str, int, bool | None]:
    """Host, port and whether to speak TLS, as asyncio wants them."""
    at = urlsplit(url)
    tls = at.scheme in ("https", "wss")
    return at.hostname or "", at.port or (443 if tls else 80), tls or None


def get(path: str, user_id: str, host: str = "gozon") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX-User-Id: {user_id}\r\n\r\n".encode()


def post(path: str, user_id: str, body: bytes = b"", key: str | None = None, host: str = "gozon") -> bytes:
    idempotency = f"Idempotency-Key: {key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nX-User-Id: {user_id}\r\n{idempotency}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def flood(
    url: str, in_flight: int, seconds: float, request: Callable[[], bytes], answered: Callable[[int, bytes], None]
) -> float:
    """Keeps `in_flight` requests under way for `seconds`; returns how long it really took."""
    pool = Pool(url, in_flight)
    started = time.perf_counter()

    async def one_after_another() -> None:
        while time.perf_counter() - started < seconds:
            answered(*await pool.ask(request()))

    await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
    took = time.perf_counter() - started
    pool.close()
    return took
