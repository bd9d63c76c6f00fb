"""An HTTP client for load generators. `loadtest.bench.clients` compares its cost with aiohttp.

To keep the cost of a request low, requests are prepared as bytes, response headers are not read, and a method call
delivers the response. A request needs neither a task nor a future.
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
    """A request without a response yet. `sent` is the time when it was written to a connection."""

    __slots__ = ("request", "sent")

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.sent = 0.0

    def on_response(self, status: int, body: bytes, at: float) -> None:
        """Receives the response, or status 0 and the reason as `body` if there was none.

        `at` is a time of `time.perf_counter`.
        """
        raise NotImplementedError


class Response(NamedTuple):
    status: int
    body: bytes


class _AwaitedRequest(PendingRequest):
    __slots__ = ("response",)

    def __init__(self, request: bytes) -> None:
        super().__init__(request)
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def on_response(self, status: int, body: bytes, at: float) -> None:  # noqa: ARG002
        if not self.response.done():
            self.response.set_result(Response(status, body))


class Pool:
    """Keep-alive connections to the server at `url`, opened on demand, at most `connection_limit` of them.

    A connection carries one request at a time. While all are busy, requests wait in order.
    """

    def __init__(self, url: str, connection_limit: int) -> None:
        self._address = address(url)
        self._connection_limit = connection_limit
        self._waiting: deque[PendingRequest] = deque()
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._count = 0  # of connections that are open or opening

    def send(self, call: PendingRequest) -> None:
        if self._idle:
            self._idle.pop().carry(call)
        else:
            self._waiting.append(call)
            self._grow()

    async def ask(self, request: bytes) -> Response:
        awaited = _AwaitedRequest(request)
        self.send(awaited)
        return await awaited.response

    def close(self) -> None:
        for connection in list(self._open):
            connection.close()

    def _grow(self) -> None:
        if self._count < self._connection_limit:
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
                self._waiting.popleft().on_response(0, why, time.perf_counter())

    def on_idle(self, connection: "_Connection") -> None:
        self._open.add(connection)
        if self._waiting:
            connection.carry(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def on_lost(self, connection: "_Connection") -> None:
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
        self._complete = self._keep_alive = False

    def carry(self, call: PendingRequest) -> None:
        self._call = call
        call.sent = time.perf_counter()
        self._transport.write(call.request)

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._pool.on_idle(self)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()  # known only in this callback

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._keep_alive = False
            self._finish(0, b"not HTTP")
            return
        if self._complete:
            self._complete = False
            self._finish(self._parser.get_status_code(), self._body)

    def _finish(self, status: int, body: bytes) -> None:
        at = time.perf_counter()
        call, self._call, self._body = self._call, None, b""
        if self._keep_alive:
            self._pool.on_idle(self)
        else:
            self._transport.close()
        if call is not None:
            call.on_response(status, body, at)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._pool.on_lost(self)
        if self._call is not None:
            call, self._call = self._call, None
            call.on_response(0, b"connection lost", time.perf_counter())


def address(url: str) -> tuple[str, int, bool | None]:
    """Returns host, port and the `ssl` argument of `create_connection`: True for TLS, otherwise None."""
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
    url: str,
    in_flight: int,
    seconds: float,
    next_request: Callable[[], bytes],
    on_response: Callable[[int, bytes], None],
) -> float:
    """Keeps `in_flight` requests in flight for `seconds`. Returns the seconds until the last response."""
    pool = Pool(url, in_flight)
    started = time.perf_counter()

    async def send_one_after_another() -> None:
        while time.perf_counter() - started < seconds:
            on_response(*await pool.ask(next_request()))

    await asyncio.gather(*(send_one_after_another() for _ in range(in_flight)))
    took = time.perf_counter() - started
    pool.close()
    return took
