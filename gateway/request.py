"""A request as it goes to a replica, made of the one that came; what could be read as something else is refused."""

import re
from collections.abc import Iterable
from functools import lru_cache

from litestar.types import HTTPScope

from shopkit.observability import tracing
from shopkit.web.problems import malformed

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# The length is ours to say, of what we really send; the rest is a matter between the client and our server.
OURS = frozenset({b"content-length", b"expect", b"traceparent"})
# Of others an empty body is none.
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# Its answer would have no end.
NOT_FOR_US = frozenset({"CONNECT"})

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"/[\x21-\x7e]*")

RawHeaders = Iterable[tuple[bytes, bytes]]


def encode(scope: HTTPScope, body: bytes | None) -> bytes:
    """The request with its `body`; None stands for one that follows in chunks. Raises a 400 Problem."""
    method, target, query = scope["method"], scope["raw_path"], scope["query_string"]
    if query:
        target = b"%b?%b" % (target, query)
    if not _TARGET.fullmatch(target) or not _TOKEN.fullmatch(method.encode()) or method in NOT_FOR_US:
        raise malformed()
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target), *_lines(scope["headers"])]
    if traceparent := tracing.current():
        lines.append(b"traceparent: %b" % traceparent.encode())
    if body is None:
        lines.append(b"transfer-encoding: chunked")
    elif body or method in WITH_BODY:
        lines.append(b"content-length: %d" % len(body))
    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    if not head.count(b"\r") == head.count(b"\n") == len(lines) or b"\0" in head:  # a line in a line
        raise malformed()
    return head + body if body else head


def hop_by_hop(headers: RawHeaders) -> frozenset[bytes]:
    """Those of RFC 9110 7.6.1, and those that `Connection` names."""
    said = [value for name, value in headers if name == b"connection"]
    if not said:
        return HOP_BY_HOP
    return HOP_BY_HOP | {name.strip().lower() for value in said for name in value.split(b",")}


def _lines(headers: RawHeaders) -> list[bytes]:
    dropped = hop_by_hop(headers)
    passed_on = [(name, value) for name, value in headers if name not in dropped and name not in OURS]
    if not all(_is_token(name) for name, _ in passed_on):
        raise malformed()
    # Our server undoes chunks and no other coding, so the body would still be encoded, and no header would say so.
    if any(value.strip().lower() != b"chunked" for name, value in headers if name == b"transfer-encoding"):
        raise malformed()
    hosts = sum(name == b"host" for name, _ in passed_on)
    if hosts > 1:
        raise malformed()
    lines = [b"%b: %b" % header for header in passed_on]
    return lines if hosts else [*lines, b"host: localhost"]  # HTTP/1.0 can do without one, 1.1 cannot


@lru_cache(1024)
def _is_token(name: bytes) -> bool:
    return _TOKEN.fullmatch(name) is not None
