"""uvicorn's HTTP with our errors, and with answers that leave in one piece."""

import asyncio

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shopkit.problems import MEDIA_TYPE, malformed

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # what uvicorn writes before an answer
LENGTHS = frozenset({b"content-length", b"transfer-encoding"})


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


class Http(HttpToolsProtocol):
    """Refuses what cannot be parsed with a problem document as well."""

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
        if not upgrade and self.scope["method"] != "HEAD":  # an answer to HEAD has no body to wait for
            self.cycle.transport = _OnePiece(self.cycle.transport)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's words are for a log)
        body = msgspec.json.encode(malformed().document("/"))
        head = (
            "HTTP/1.1 400 Bad Request",
            f"content-type: {MEDIA_TYPE}",
            f"content-length: {len(body)}",
            "connection: close",
            "",
            "",
        )
        self.transport.write("\r\n".join(head).encode() + body)
        self.transport.close()
