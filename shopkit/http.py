"""uvicorn's HTTP with our errors: what cannot be parsed is refused with a problem document as well."""

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shopkit.problems import MEDIA_TYPE, malformed

LENGTHS = frozenset({b"content-length", b"transfer-encoding"})


class Http(HttpToolsProtocol):
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
