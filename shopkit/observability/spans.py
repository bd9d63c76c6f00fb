"""OpenTelemetry spans, sent by OTLP over HTTP. This module is imported only if a collector is configured.

It follows OpenTelemetry's conventions for messaging. A batch has a span of its own, with a link to the trace of
each order in it. The work for one order is a span in that order's trace, with a link to the batch.
"""

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from litestar.types import Message, Send
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

# A batch can hold more than 128 orders. The default limit of 128 would silently drop the other links.
LINKS_LIMIT = 4096
SERVER_ERROR = 500
CLOSE_SECONDS = 3


class Spans:
    """The spans of this process and their exporter."""

    def __init__(self, service: str, replica: str) -> None:
        resource = Resource.create({"service.name": service, "service.instance.id": replica})
        limits = SpanLimits(max_links=LINKS_LIMIT)
        self._provider = TracerProvider(resource=resource, span_limits=limits, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("gozon")

    def close(self) -> None:
        """Sends the remaining spans, and gives up after CLOSE_SECONDS if the collector is unavailable."""
        shutdown = threading.Thread(target=self._provider.shutdown, daemon=True)
        shutdown.start()
        shutdown.join(CLOSE_SECONDS)

    @contextmanager
    def server(self, name: str, parent: str | None) -> Generator["ServerSpan"]:
        context = _context(parent) if parent else Context()
        with self._tracer.start_as_current_span(name, context, SpanKind.SERVER) as span:
            yield ServerSpan(span)

    @contextmanager
    def batch(self, name: str, traceparents: Sequence[str]) -> Generator["BatchSpan"]:
        links = [Link(_span_context(traceparent)) for traceparent in traceparents]
        with self._tracer.start_as_current_span(name, Context(), SpanKind.CONSUMER, links=links) as span:
            batch = BatchSpan(self._tracer, span)
            try:
                yield batch
            except Exception as error:
                batch.end(Status(StatusCode.ERROR, repr(error)))
                raise
            batch.end(Status(StatusCode.OK))


class ServerSpan:
    def __init__(self, span: Span) -> None:
        self._span = span
        self.traceparent = _traceparent(span)

    def watch(self, send: Send) -> Send:
        """Returns a `send` that also records the status of the response in the span."""

        async def recording_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= SERVER_ERROR:
                    self._span.set_status(Status(StatusCode.ERROR))
            await send(message)

        return recording_send


class BatchSpan:
    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._links_to_batch = [Link(span.get_span_context())]
        self._children: list[Span] = []

    def child(self, name: str, traceparent: str) -> str:
        """Starts a span in the trace of `traceparent` and returns its own `traceparent`. It ends with the batch."""
        context = _context(traceparent)
        child = self._tracer.start_span(name, context, SpanKind.CONSUMER, links=self._links_to_batch)
        self._children.append(child)
        return _traceparent(child)

    def end(self, status: Status) -> None:
        for child in self._children:
            child.set_status(status)
            child.end()


def _span_context(traceparent: str) -> SpanContext:
    _, trace, span, flags = traceparent.split("-")
    return SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _context(traceparent: str) -> Context:
    return set_span_in_context(NonRecordingSpan(_span_context(traceparent)), Context())


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
