"""One connection to a replica: one request at a time, and a strict reading of its response by RFC 9112.

httptools refuses malformed responses and those with two lengths. This module also refuses versions other than 1.0
and 1.1, transfer codings other than chunked, a change of protocol, and control characters in the reason phrase.

If the replica sends bytes that do not belong to the response of the current request, the connection is closed. So
they can never be taken for the response to the next request.
"""

import asyncio
import itertools
import re
import select
import time
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.upstream_response import ConnectionBroken, Headers, Stale, UpstreamResponse

# The time to wait for a response, or for the next part of a streamed one. nginx waits longer for the gateway, so
# the client receives the gateway's problem document.
RESPONSE_SECONDS = 25
# The services keep an idle connection for longer than this.
KEEP_ALIVE_SECONDS = 30
# The limit on bytes in a row that belong to no body: headers, 1xx responses, trailers.
HEAD_LIMIT = 64 * 1024
FIRST_BYTE = b"H"
FRAMING_HEADERS = frozenset({b"content-length", b"transfer-encoding"})
STATUSES_WITHOUT_BODY = frozenset({204, 304})
REASON_PHRASE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class UpstreamConnection(asyncio.Protocol):
    """A connection to a replica. It calls `on_idle` when it can take the next request, `on_closed` at its end."""

    _transport: asyncio.Transport
    _parser: HttpResponseParser
    _poll: select.poll

    def __init__(
        self,
        on_idle: Callable[["UpstreamConnection"], None],
        on_closed: Callable[["UpstreamConnection"], None],
    ) -> None:
        # `Client.run` checks the deadlines of all connections, so that a request needs no timer of its own.
        self.deadline = inf
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._used = False
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        # The current request:
        self._waiter: asyncio.Future[UpstreamResponse] | None = None
        self._upload: asyncio.Task[None] | None = None
        self._head_only = False
        # Its response:
        self._response: UpstreamResponse | None = None
        self._headers: Headers = []
        self._awaiting_first_byte = True
        self._bytes_since_body = 0
        self._ends_at_close = False
        self._keep_alive = False
        self._complete = True

    @property
    def usable(self) -> bool:
        """True if the connection is open and has nothing to read, neither its end nor unexpected bytes.

        This polls the socket, because the event loop may not have noticed a change yet.
        """
        return not self._transport.is_closing() and not self._poll.poll(0)

    async def request(
        self, request: bytes, *, head_only: bool, body: AsyncIterator[bytes] | None = None
    ) -> UpstreamResponse:
        """Sends `request`, then the parts of `body`. With `head_only`, the response has no body (HEAD)."""
        self._waiter = self._loop.create_future()
        self._head_only = head_only
        self._response = None
        self._awaiting_first_byte = True
        self._bytes_since_body = 0
        self._complete = False
        self.await_data()
        self._transport.write(request)
        if body is not None:
            self._upload = asyncio.create_task(self._send_chunked(body))
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise

    def fail(self, error: BaseException) -> None:
        """Closes the connection. The current request, or the reader of its response body, receives `error`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        elif self._response is not None and not self._complete:
            self._response.fail(error)
        self._complete = True
        self._transport.abort()

    def close(self) -> None:
        self.fail(ConnectionBroken("closed"))

    def await_data(self) -> None:
        """Starts the timeout and reads, because the gateway needs data from the replica now."""
        self.deadline = time.monotonic() + RESPONSE_SECONDS
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def stop_timeout(self) -> None:
        """Stops the timeout, because the gateway is sending earlier data to the client."""
        self.deadline = inf

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    # callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = HttpResponseParser(self)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._complete:
            return self.fail(ConnectionBroken("bytes without a request"))
        try:
            self._read(data)
        except (HttpParserError, HttpParserUpgrade, ConnectionBroken) as error:
            if not self._complete:
                return self.fail(ConnectionBroken(f"malformed response: {error.__context__ or error}"))
            self._keep_alive = False  # the response is valid, but the bytes after it are not
        if self._complete and self._response is not None:
            self._finish(self._response)
        return None

    def eof_received(self) -> None:
        """Completes a response without a length, which ends with the connection. A lost connection is an error."""
        if self._ends_at_close and not self._complete and self._response is not None:
            self._complete = True
            self._finish(self._response)

    def connection_lost(self, exc: Exception | None) -> None:
        kind = Stale if self._used and self._awaiting_first_byte else ConnectionBroken
        self.fail(kind(f"the connection ended: {exc!r}"))
        if self._upload is not None:
            self._upload.cancel()
        del self._parser  # breaks the reference cycle between the parser and this object
        self._on_closed(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # callbacks of the parser

    def on_message_begin(self) -> None:
        if self._complete:
            raise ConnectionBroken("more than one response")
        self._headers = []

    def on_status(self, reason: bytes) -> None:
        if not REASON_PHRASE.fullmatch(reason):
            raise ConnectionBroken("control characters in the reason phrase")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is None:  # headers after the body are trailers, and are dropped
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if status == 101 or not 100 <= status < 600 or version not in ("1.1", "1.0"):
            raise ConnectionBroken(f"status {status} of HTTP/{version}")
        if self._bytes_since_body > HEAD_LIMIT and sum(map(len, itertools.chain(*self._headers))) > HEAD_LIMIT:
            raise ConnectionBroken("the headers are too large")
        if status < 200:
            return
        self._keep_alive = self._parser.should_keep_alive()
        self._response = UpstreamResponse(self, status, self._headers, self._body_length(status))
        if self._head_only:  # the parser does not know that the request was HEAD, and waits for a body
            self._complete = True
            self._keep_alive = False
        elif not self._response.buffered:
            self._deliver(self._response)

    def on_body(self, data: bytes) -> None:
        if self._complete or self._response is None:
            raise ConnectionBroken("an unexpected body")
        self._bytes_since_body = 0
        self._response.add(data)

    def on_message_complete(self) -> None:
        self._complete = self._response is not None  # after a 1xx response, the real response follows

    def _read(self, data: bytes) -> None:
        if self._awaiting_first_byte and not data.startswith(FIRST_BYTE):  # the parser would accept RTSP, too
            raise ConnectionBroken("not HTTP")
        self._awaiting_first_byte = False
        self._bytes_since_body += len(data)
        self._parser.feed_data(data)
        if self._bytes_since_body > HEAD_LIMIT:
            raise ConnectionBroken("too many bytes outside the body")

    def _body_length(self, status: int) -> int | None:
        """Returns the length of the body in bytes, or None if it is chunked or ends with the connection."""
        framing = [(name, value) for name, value in self._headers if name in FRAMING_HEADERS]
        self._ends_at_close = not framing
        if len(framing) > 1 or (
            framing and framing[0][0] == b"transfer-encoding" and framing[0][1].lower() != b"chunked"
        ):
            raise ConnectionBroken("an ambiguous length of the body")
        if self._head_only or status in STATUSES_WITHOUT_BODY:
            self._ends_at_close = False
            return 0
        return int(framing[0][1]) if framing and framing[0][0] == b"content-length" else None

    def _deliver(self, response: UpstreamResponse) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(response)

    def _finish(self, response: UpstreamResponse) -> None:
        """Ends the response. The connection becomes idle if it can take another request, otherwise it is closed."""
        response.end()
        self._deliver(response)
        if not self._keep_alive or (self._upload is not None and not self._upload.done()):
            self._transport.abort()
            return
        self._upload = None
        self._used = True
        self.await_data()
        self.deadline = time.monotonic() + KEEP_ALIVE_SECONDS
        self._on_idle(self)

    async def _send_chunked(self, body: AsyncIterator[bytes]) -> None:
        """Sends the stream as chunks. Empty parts are left out, because an empty chunk ends the body."""
        try:
            async for part in body:
                if part:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(part), part))
                    self.deadline = time.monotonic() + RESPONSE_SECONDS
                    await self._writable.wait()
            self._transport.write(b"0\r\n\r\n")
        except Exception as error:  # noqa: BLE001 (without its whole body the request must fail)
            self.fail(error)
