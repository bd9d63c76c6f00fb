"""Encodes a client's request for a replica, and refuses requests that two parsers could read differently."""

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
# Headers that are not forwarded. The gateway sets the length of the body that it really sends, and its own
# `traceparent`. uvicorn has already handled `Expect`.
SET_BY_GATEWAY = frozenset({b"content-length", b"expect", b"traceparent"})
# Methods that need a content-length even with an empty body.
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# A response to CONNECT would be a tunnel without an end.
REFUSED_METHODS = frozenset({"CONNECT"})

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"/[\x21-\x7e]*")

RawHeaders = Iterable[tuple[bytes, bytes]]


def encode(scope: HTTPScope, body: bytes | None) -> bytes:
    """Returns the bytes of the request. If `body` is None, the body must follow in chunks.

    Raises a 400 Problem if the request is malformed.
    """
    method, target, query = scope["method"], scope["raw_path"], scope["query_string"]
    if query:
        target = b"%b?%b" % (target, query)
    if not _TARGET.fullmatch(target) or not _TOKEN.fullmatch(method.encode()) or method in REFUSED_METHODS:
        raise malformed()
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target), *_header_lines(scope["headers"])]
    if traceparent := tracing.current():
        lines.append(b"traceparent: %b" % traceparent.encode())
    if body is None:
        lines.append(b"transfer-encoding: chunked")
    elif body or method in METHODS_WITH_BODY:
        lines.append(b"content-length: %d" % len(body))
    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    # A line break inside a value would start another header or another request.
    if not head.count(b"\r") == head.count(b"\n") == len(lines) or b"\0" in head:
        raise malformed()
    return head + body if body else head


def hop_by_hop(headers: RawHeaders) -> frozenset[bytes]:
    """Returns the names of hop-by-hop headers: the list of RFC 9110 7.6.1, and the names in `Connection`."""
    connection = [value for name, value in headers if name == b"connection"]
    if not connection:
        return HOP_BY_HOP
    return HOP_BY_HOP | {name.strip().lower() for value in connection for name in value.split(b",")}


def _header_lines(headers: RawHeaders) -> list[bytes]:
    dropped = hop_by_hop(headers)
    forwarded = [(name, value) for name, value in headers if name not in dropped and name not in SET_BY_GATEWAY]
    if not all(_is_token(name) for name, _ in forwarded):
        raise malformed()
    hosts = sum(name == b"host" for name, _ in forwarded)
    if hosts > 1:
        raise malformed()
    lines = [b"%b: %b" % header for header in forwarded]
    return lines if hosts else [*lines, b"host: localhost"]  # optional in HTTP/1.0, but required in HTTP/1.1


@lru_cache(1024)
def _is_token(name: bytes) -> bool:
    return _TOKEN.fullmatch(name) is not None
