"""An OTLP endpoint that collects the spans of the services."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support import free_port


class Collected(msgspec.Struct, frozen=True):
    """A span that the collector has received."""

    service: str
    replica: str
    name: str
    trace: str
    id: str
    parent: str
    links: list[str]
    """The ids of the linked spans."""
    status: int
    answered: int | None
    """The status of the HTTP response, if the span has one."""

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.id}-01"


class Collector:
    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.spans: list[Collected] = []

    def of(self, trace: str) -> dict[tuple[str, str], Collected]:
        """Returns the spans of one trace by service and name, which must be unique."""
        spans = [span for span in self.spans if span.trace == trace]
        found = {(span.service, span.name): span for span in spans}
        assert len(found) == len(spans)
        return found

    def named(self, name: str) -> list[Collected]:
        return [span for span in self.spans if span.name == name]

    async def receive(self, request: web.Request) -> web.Response:
        for resource_spans in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            resource = {pair.key: pair.value.string_value for pair in resource_spans.resource.attributes}
            for scope in resource_spans.scope_spans:
                self.spans += [_collected(resource, span) for span in scope.spans]
        return web.Response()


def _collected(resource: dict[str, str], span: Any) -> Collected:
    attributes = {pair.key: pair.value.int_value for pair in span.attributes}
    return Collected(
        resource["service.name"],
        resource["service.instance.id"],
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        [link.span_id.hex() for link in span.links],
        span.status.code,
        attributes.get("http.response.status_code"),
    )


@asynccontextmanager
async def collecting() -> AsyncGenerator[Collector]:
    collector = Collector()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", collector.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", collector.port).start()
    yield collector
    await runner.cleanup()
