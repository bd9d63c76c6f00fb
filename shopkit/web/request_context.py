"""What ties together all that one request causes: the request's id in log lines, and its trace."""

from collections import Counter
from collections.abc import Iterable
from uuid import uuid4

import structlog
from litestar.types import ASGIApp, Receive, Scope, Send

from shopkit.observability import tracing

# Asked every few seconds by those who look after the service; no order comes this way.
FOR_OPERATORS = ("/health/", "/metrics")


def correlate(app: ASGIApp) -> ASGIApp:
    """Takes the id that nginx gave the request, and the trace that the caller started; makes what is missing."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(FOR_OPERATORS):
            return await app(scope, receive, send)
        given = _given_once(scope["headers"])
        request_id = given.get(b"x-request-id", b"").decode("latin-1")[:100] or uuid4().hex
        traceparent = given.get(b"traceparent", b"").decode("latin-1")
        # Litestar has no template for what is mounted.
        path = scope["path_template"] or min(scope["route_handler"].paths)
        with tracing.request(f"{scope['method']} {path}", traceparent) as span:
            structlog.contextvars.bind_contextvars(
                request_id=request_id, trace_id=tracing.trace_id(tracing.current() or "")
            )
            return await app(scope, receive, send if span is None else span.watch(send))

    return middleware


def _given_once(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """A header that is repeated counts as missing: W3C Trace Context has a new trace for such a `traceparent`."""
    lines = list(headers)
    given = dict(lines)
    if len(given) == len(lines):
        return given
    counted = Counter(name for name, _ in lines)
    return {name: value for name, value in given.items() if counted[name] == 1}
