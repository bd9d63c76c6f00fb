"""uvicorn's HTTP protocol with problem documents as errors, and with headers and body sent in one write."""

import asyncio
from collections import deque
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shopkit.web.problems import MEDIA_TYPE, Problem, malformed, too_slow

# The time limit for a body that does not arrive together with its headers. nginx allows 10 s between two parts.
# The gateway waits longer than this for a response.
BODY_SECONDS = 20
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # uvicorn writes it before the response
BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})
# uvicorn appends the trailers of a chunked body to its list of headers. This list drops everything appended to it.
TRAILERS: Any = deque[Any](maxlen=0)


class _HeadBuffer(asyncio.Transport):
    """Holds back the head of a response until the first part of its body is written, and sends both together.

    uvicorn writes them separately, as a rule in the same turn of the event loop. Two writes are two system calls
    here, and two for the reader.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._started = False
        self._head = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._started and data != CONTINUE:
            self._started, self._head = True, bytes(data)
            return
        self._transport.write(self._head + data if self._head else data)
        self._head = b""

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
        self._transport.close()


class HttpProtocol(HttpToolsProtocol):
    """Sends a problem document if a request cannot be parsed, or if its body takes longer than BODY_SECONDS."""

    _body_pending = False
    _body_deadline: asyncio.TimerHandle | None = None

    def on_headers_complete(self) -> None:
        """Refuses an upgrade to a protocol that we do not serve, including CONNECT, and any upgrade with a body.

        Refuses every transfer coding but chunked as well: uvicorn decodes no other, so a handler would get an
        encoded body.

        The parser treats all bytes after such a request as the other protocol, even if the request has a length.
        uvicorn stays with HTTP: it drops some of these bytes and parses the others as the next request. That
        request would be smuggled: no proxy in front has checked it.
        """
        upgrade = self.parser is not None and self.parser.should_upgrade()
        if upgrade and (not self._should_upgrade() or any(name in BODY_HEADERS for name, _ in self.headers)):
            raise ValueError("an upgrade with a body, or to a protocol that is not served")
        if any(name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in self.headers):
            raise ValueError("a transfer coding other than chunked")
        super().on_headers_complete()
        if upgrade:
            return
        self._body_pending = True
        # The scope already holds the headers. A trailer could name another user, and no proxy has checked it.
        self.headers = TRAILERS
        if self.scope["method"] != "HEAD":  # a response to HEAD has no body to wait for
            self.cycle.transport = _HeadBuffer(self.cycle.transport)

    def on_message_complete(self) -> None:
        self._body_pending = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Most bodies come with their headers and need no timer.
        if self._body_pending:
            if self._body_deadline is None:
                self._body_deadline = self.loop.call_later(BODY_SECONDS, self._end_slow_body)
        elif self._body_deadline is not None:
            self._cancel_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's text is no problem document)
        self._refuse(malformed(), "/")

    def _end_slow_body(self) -> None:
        """Closes the connection, which the handler sees as a disconnect. Sends a 408 first where that is safe."""
        # In the other cases the 408 would follow a part of the response, or look like the response to an
        # earlier or later request on this connection.
        if not self.cycle.response_started and not self.pipeline:
            self._refuse(too_slow(), self.scope["raw_path"].decode("latin-1"))
        self.transport.close()

    def _cancel_deadline(self) -> None:
        if self._body_deadline is not None:
            self._body_deadline.cancel()
            self._body_deadline = None

    def _refuse(self, problem: Problem, instance: str) -> None:
        """Sends `problem` without calling the application, and closes the connection."""
        body = msgspec.json.encode(problem.document(instance))
        head = (
            f"HTTP/1.1 {problem.status.value} {problem.status.phrase}",
            f"content-type: {MEDIA_TYPE}",
            f"content-length: {len(body)}",
            "connection: close",
            "",
            "",
        )
        self.transport.write("\r\n".join(head).encode() + body)
        self.transport.close()
