"""The trace of an order: `traceparent` (W3C) from the request through every event to the WebSocket frame.

The `traceparent` is always passed on. Spans are created only if an OTLP endpoint is configured
(`OTEL_EXPORTER_OTLP_ENDPOINT`). Without one, OpenTelemetry's SDK is not even imported.
"""

import os
import random
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from shopkit.observability.spans import BatchSpan, ServerSpan, Spans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_TRACEPARENT = r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_VALID = re.compile(_TRACEPARENT)
_IN_EVENT = re.compile(f'"traceparent":"({_TRACEPARENT})"'.encode())

_spans: Optional["Spans"] = None
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)
_batch: ContextVar[Optional["BatchSpan"]] = ContextVar("batch span", default=None)


def start(service: str, replica: str, environ: Mapping[str, str] = os.environ) -> None:
    """Starts to collect spans if `environ` names an OTLP endpoint."""
    global _spans
    if any(environ.get(name) for name in ENDPOINTS):
        from shopkit.observability.spans import Spans

        _spans = Spans(service, replica)


def stop() -> None:
    """Sends the remaining spans and stops collecting."""
    global _spans
    if _spans is not None:
        _spans.close()
        _spans = None


def current() -> str | None:
    """Returns the `traceparent` of the current request, to pass on to its events."""
    return _current.get()


def new() -> str:
    """Returns the `traceparent` of a new trace."""
    return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01"


def trace_id(traceparent: str) -> str:
    return traceparent[3:35]


@contextmanager
def request(name: str, traceparent: str | None) -> Generator[Optional["ServerSpan"]]:
    """Sets the current `traceparent` for a request that has this header, and yields its span if there is one.

    If the header is missing or malformed, a new trace starts.
    """
    parent = traceparent if traceparent and _VALID.fullmatch(traceparent) else None
    if _spans is None:
        _current.set(parent or new())
        yield None
        return
    with _spans.server(name, parent) as span:
        _current.set(span.traceparent)
        yield span


@contextmanager
def batch(name: str, traceparents: Iterable[str | None]) -> Generator[None]:
    """Creates a span around work on several orders. `traceparents` is read only if spans are collected."""
    if _spans is None:
        yield
        return
    with _spans.batch(name, [traceparent for traceparent in traceparents if traceparent]) as span:
        token = _batch.set(span)
        try:
            yield
        finally:
            _batch.reset(token)


def child(name: str, traceparent: str | None) -> str | None:
    """Creates a span for one order of the current batch, in the order's trace, and returns its `traceparent`.

    If spans are not collected, it returns `traceparent` unchanged.
    """
    span = _batch.get() if _spans is not None else None
    if span is None or not traceparent or not _VALID.fullmatch(traceparent):
        return traceparent
    return span.child(name, traceparent)


def of_event(encoded: bytes) -> str | None:
    """Returns the `traceparent` of an encoded event, found without parsing the JSON.

    The text cannot match inside a JSON string, because the quotes would be escaped there.
    """
    found = _IN_EVENT.search(encoded)
    return found[1].decode() if found else None
