"""uvicorn's HTTP with our errors, and with answers that leave in one piece."""

import asyncio
from collections import deque
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shopkit.web.problems import MEDIA_TYPE, Problem, malformed, too_slow

# From the first bytes of a body that does not come at once to its last. nginx waits for 10 s between two parts.
# Shorter than the gateway waits for an answer.
BODY_SECONDS = 20
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # what uvicorn writes before an answer
LENGTHS = frozenset({b"content-length", b"transfer-encoding"})
# uvicorn adds the fields after a chunked body to the headers. This takes them and keeps none.
TRAILERS: Any = deque[Any](maxlen=0)


class _OnePiece(asyncio.Transport):
    """Keeps the head of an answer until the first of its body comes, in the same turn of the loop as a rule.

    uvicorn writes them one by one. Each write is a system call, and one more for whoever reads.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._begun = False
        self._head = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._begun and data != CONTINUE:
            self._begun, self._head = True, bytes(data)
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
    """Refuses with a problem document what cannot be parsed, and a body that takes longer than BODY_SECONDS."""

    _body_pending = False
    _body_deadline: asyncio.TimerHandle | None = None

    def on_headers_complete(self) -> None:
        """Refuses a request for another protocol that we do not serve, CONNECT included, and one with a body.

        The parser takes what follows such a request for the other protocol, whatever length it says. uvicorn,
        which stays with HTTP, drops some of that and takes the rest for the next request: one that nobody in
        front has looked at.
        """
        upgrade = self.parser is not None and self.parser.should_upgrade()
        if upgrade and (not self._should_upgrade() or any(name in LENGTHS for name, _ in self.headers)):
            raise ValueError("an upgrade that is not served, or with a body")
        super().on_headers_complete()
        if upgrade:
            return
        self._body_pending = True
        # The scope keeps the headers. A trailer could name another user, and no proxy in front has checked it.
        self.headers = TRAILERS
        if self.scope["method"] != "HEAD":  # an answer to HEAD has no body to wait for
            self.cycle.transport = _OnePiece(self.cycle.transport)

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
            self._forget_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's words are for a log)
        self._refuse(malformed(), "/")

    def _end_slow_body(self) -> None:
        """Closes the connection, so that the handler sees that its client has left."""
        # Otherwise the 408 would be taken for a response to another request, or follow part of a response.
        if not self.cycle.response_started and not self.pipeline:
            self._refuse(too_slow(), self.scope["raw_path"].decode("latin-1"))
        self.transport.close()

    def _forget_deadline(self) -> None:
        if self._body_deadline is not None:
            self._body_deadline.cancel()
            self._body_deadline = None

    def _refuse(self, problem: Problem, instance: str) -> None:
        """Answers without the application, and closes the connection."""
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
