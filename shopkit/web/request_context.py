"""Request context: every log line of a request has its request id and trace id, and its events carry the trace."""

from collections import Counter
from collections.abc import Iterable
from uuid import uuid4

import structlog
from litestar.types import ASGIApp, Receive, Scope, Send

from shopkit.observability import tracing

# Monitoring requests these paths every few seconds. They cause no events, so they need no trace.
MONITORING_PATHS = ("/health/", "/metrics")


def correlate(app: ASGIApp) -> ASGIApp:
    """Middleware that binds a request's `X-Request-Id` and `traceparent`. It generates a missing one."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(MONITORING_PATHS):
            return await app(scope, receive, send)
        headers = _without_repeated(scope["headers"])
        request_id = headers.get(b"x-request-id", b"").decode("latin-1")[:100] or uuid4().hex
        traceparent = headers.get(b"traceparent", b"").decode("latin-1")
        # For a mounted application Litestar sets no template.
        path = scope["path_template"] or min(scope["route_handler"].paths)
        with tracing.request(f"{scope['method']} {path}", traceparent) as span:
            structlog.contextvars.bind_contextvars(
                request_id=request_id, trace_id=tracing.trace_id(tracing.current() or "")
            )
            return await app(scope, receive, send if span is None else span.watch(send))

    return middleware


def _without_repeated(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Returns the headers that occur once. For a repeated `traceparent`, W3C Trace Context asks for a new trace."""
    lines = list(headers)
    values = dict(lines)
    if len(values) == len(lines):
        return values
    counts = Counter(name for name, _ in lines)
    return {name: value for name, value in values.items() if counts[name] == 1}
