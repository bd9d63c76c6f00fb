"""uvicorn's HTTP with our errors: what cannot be parsed is refused with a problem document as well."""

from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shopkit.problems import MEDIA_TYPE, Problem

MALFORMED = Problem(HTTPStatus.BAD_REQUEST, "malformed-request", "The request is malformed.")


class Http(HttpToolsProtocol):
    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's words are for a log)
        body = msgspec.json.encode(MALFORMED.document("/"))
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
