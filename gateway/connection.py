"""One connection to a replica: a request at a time, and its answer by the letter of RFC 9112.

httptools refuses what is malformed or says its length twice. What it would let pass and we do not: other
versions than 1.0 and 1.1, other codings than chunked, a change of protocol, control characters in the words
after the status. Whatever comes that is no answer to the request that is out ends the connection, so it can
never be taken for the answer to the next one.
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

# Shorter than nginx waits for us, so that it is our problem document that says so.
ANSWER_SECONDS = 25
# Shorter than the services keep an idle connection.
KEEP_ALIVE_SECONDS = 30
# For all that may come without any body between: headers, answers of 1xx, trailers.
HEAD_LIMIT = 64 * 1024
FIRST_BYTE = b"H"
FRAMING = frozenset({b"content-length", b"transfer-encoding"})
NO_BODY = frozenset({204, 304})
WORDS = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class UpstreamConnection(asyncio.Protocol):
    """`rest` is called when it is idle again, `gone` when it is closed."""

    _transport: asyncio.Transport
    _parser: HttpResponseParser
    _kernel: select.poll

    def __init__(
        self, rest: Callable[["UpstreamConnection"], None], gone: Callable[["UpstreamConnection"], None]
    ) -> None:
        # The client looks at it every now and then, so that a request needs no timer of its own.
        self.deadline = inf
        self._rest = rest
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._used = False
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        # Of the request that is out:
        self._waiter: asyncio.Future[UpstreamResponse] | None = None
        self._upload: asyncio.Task[None] | None = None
        self._without_body = False
        # Of its answer:
        self._answer: UpstreamResponse | None = None
        self._headers: Headers = []
        self._silent = True
        self._since_body = 0
        self._until_the_end = False
        self._keep = False
        self._complete = True

    @property
    def usable(self) -> bool:
        """Open, and nothing to read: neither its end nor an answer that nobody asked for.

        The kernel is asked, as the event loop may not have seen it yet.
        """
        return not self._transport.is_closing() and not self._kernel.poll(0)

    async def ask(
        self, request: bytes, *, without_body: bool, body: AsyncIterator[bytes] | None = None
    ) -> UpstreamResponse:
        """Sends `request`, and after it a `body` that is a stream. `without_body`: the answer has none (HEAD)."""
        self._waiter = self._loop.create_future()
        self._without_body = without_body
        self._answer = None
        self._silent = True
        self._since_body = 0
        self._complete = False
        self.flow()
        self._transport.write(request)
        if body is not None:
            self._upload = asyncio.create_task(self._send(body))
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise

    def fail(self, error: BaseException) -> None:
        """Ends the connection. Whoever waits for the answer gets `error`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        elif self._answer is not None and not self._complete:
            self._answer.fail(error)
        self._complete = True
        self._transport.abort()

    def close(self) -> None:
        self.fail(ConnectionBroken("closed"))

    def flow(self) -> None:
        """Somebody waits for what comes."""
        self.deadline = time.monotonic() + ANSWER_SECONDS
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def hold(self) -> None:
        """Nobody waits: the client is busy with what it has got."""
        self.deadline = inf

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = HttpResponseParser(self)
        self._kernel = select.poll()
        self._kernel.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._complete:
            return self.fail(ConnectionBroken("an answer to no request"))
        try:
            self._read(data)
        except (HttpParserError, HttpParserUpgrade, ConnectionBroken) as error:
            if not self._complete:
                return self.fail(ConnectionBroken(f"no proper answer: {error.__context__ or error}"))
            self._keep = False  # the answer was good, what came after it was not
        if self._complete and self._answer is not None:
            self._settle(self._answer)
        return None

    def eof_received(self) -> None:
        """The end in good order, which `connection_lost` alone would not be."""
        if self._until_the_end and not self._complete and self._answer is not None:
            self._complete = True
            self._settle(self._answer)

    def connection_lost(self, exc: Exception | None) -> None:
        kind = Stale if self._used and self._silent else ConnectionBroken
        self.fail(kind(f"the connection ended: {exc!r}"))
        if self._upload is not None:
            self._upload.cancel()
        del self._parser  # which knows us, as we know it
        self._gone(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # the parser's side

    def on_message_begin(self) -> None:
        if self._complete:
            raise ConnectionBroken("more than an answer")
        self._headers = []

    def on_status(self, words: bytes) -> None:
        if not WORDS.fullmatch(words):
            raise ConnectionBroken("words after the status that are none")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is None:  # trailers are dropped
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if status == 101 or not 100 <= status < 600 or version not in ("1.1", "1.0"):
            raise ConnectionBroken(f"status {status} of HTTP/{version}")
        if self._since_body > HEAD_LIMIT and sum(map(len, itertools.chain(*self._headers))) > HEAD_LIMIT:
            raise ConnectionBroken("the headers are too large")
        if status < 200:
            return
        self._keep = self._parser.should_keep_alive()
        self._answer = UpstreamResponse(self, status, self._headers, self._length(status))
        if self._without_body:  # the parser cannot be told, and waits for one
            self._complete = True
            self._keep = False
        elif not self._answer.whole:
            self._deliver(self._answer)

    def on_body(self, data: bytes) -> None:
        if self._complete or self._answer is None:
            raise ConnectionBroken("a body where there is none")
        self._since_body = 0
        self._answer.add(data)

    def on_message_complete(self) -> None:
        self._complete = self._answer is not None  # otherwise it was one of 1xx

    def _read(self, data: bytes) -> None:
        if self._silent and not data.startswith(FIRST_BYTE):  # the parser speaks RTSP as well
            raise ConnectionBroken("not HTTP")
        self._silent = False
        self._since_body += len(data)
        self._parser.feed_data(data)
        if self._since_body > HEAD_LIMIT:
            raise ConnectionBroken("more beside the body than there may be")

    def _length(self, status: int) -> int | None:
        """Of the body; None where only its end will tell."""
        said = [(name, value) for name, value in self._headers if name in FRAMING]
        self._until_the_end = not said
        if len(said) > 1 or (said and said[0][0] == b"transfer-encoding" and said[0][1].lower() != b"chunked"):
            raise ConnectionBroken("a body of no certain length")
        if self._without_body or status in NO_BODY:
            self._until_the_end = False
            return 0
        return int(said[0][1]) if said and said[0][0] == b"content-length" else None

    def _deliver(self, answer: UpstreamResponse) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)

    def _settle(self, answer: UpstreamResponse) -> None:
        """The answer is there. The connection rests, unless something speaks against its further use."""
        answer.end()
        self._deliver(answer)
        if not self._keep or (self._upload is not None and not self._upload.done()):
            self._transport.abort()
            return
        self._upload = None
        self._used = True
        self.flow()
        self.deadline = time.monotonic() + KEEP_ALIVE_SECONDS
        self._rest(self)

    async def _send(self, body: AsyncIterator[bytes]) -> None:
        """In chunks; an empty one would say that it is the last."""
        try:
            async for part in body:
                if part:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(part), part))
                    self.deadline = time.monotonic() + ANSWER_SECONDS
                    await self._writable.wait()
            self._transport.write(b"0\r\n\r\n")
        except Exception as error:  # noqa: BLE001 (whatever stopped the body stops the request)
            self.fail(error)
