"""The trace of an order: `traceparent` (W3C) from the request through every event to the WebSocket frame.

It is handed on whether anybody collects spans or not. Spans are made only when an OTLP endpoint is
configured (`OTEL_EXPORTER_OTLP_ENDPOINT`), and OpenTelemetry's SDK is not even imported otherwise.
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

_FORM = r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_VALID = re.compile(_FORM)
_IN_EVENT = re.compile(f'"traceparent":"({_FORM})"'.encode())

_spans: Optional["Spans"] = None
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)
_batch: ContextVar[Optional["BatchSpan"]] = ContextVar("batch span", default=None)


def start(service: str, replica: str, environ: Mapping[str, str] = os.environ) -> None:
    """Collects spans from now on when `environ` says where to send them."""
    global _spans
    if any(environ.get(name) for name in ENDPOINTS):
        from shopkit.observability.spans import Spans

        _spans = Spans(service, replica)


def stop() -> None:
    """Sends what was collected."""
    global _spans
    if _spans is not None:
        _spans.close()
        _spans = None


def current() -> str | None:
    """The `traceparent` to hand on from the request that is being answered."""
    return _current.get()


def new() -> str:
    """The start of a trace."""
    return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01"


def trace_id(traceparent: str) -> str:
    return traceparent[3:35]


@contextmanager
def request(name: str, given: str | None) -> Generator[Optional["ServerSpan"]]:
    """A request that came with the header `given`; it starts a trace when that is missing or malformed."""
    parent = given if given and _VALID.fullmatch(given) else None
    if _spans is None:
        _current.set(parent or new())
        yield None
        return
    with _spans.server(name, parent) as span:
        _current.set(span.traceparent)
        yield span


@contextmanager
def batch(name: str, traceparents: Iterable[str | None]) -> Generator[None]:
    """Work on several orders at once. `traceparents` is only looked at when spans are collected."""
    if _spans is None:
        yield
        return
    with _spans.batch(name, [given for given in traceparents if given]) as span:
        token = _batch.set(span)
        try:
            yield
        finally:
            _batch.reset(token)


def child(name: str, traceparent: str | None) -> str | None:
    """What to hand on from a step that a batch takes for one order: a span of its own in the order's trace."""
    span = _batch.get() if _spans is not None else None
    if span is None or not traceparent or not _VALID.fullmatch(traceparent):
        return traceparent
    return span.child(name, traceparent)


def of_event(encoded: bytes) -> str | None:
    """Found without parsing: inside a JSON string the quotes would be escaped."""
    found = _IN_EVENT.search(encoded)
    return found[1].decode() if found else None
