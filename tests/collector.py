"""A collector of spans: what an OTLP endpoint is to the services."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support import free_port


class Collected(msgspec.Struct, frozen=True):
    service: str
    replica: str
    name: str
    trace: str
    id: str
    parent: str
    links: list[str]
    """The ids of the spans that it is linked to."""
    status: int
    answered: int | None
    """The status of the HTTP answer."""

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.id}-01"


class Collector:
    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.spans: list[Collected] = []

    def of(self, trace: str) -> dict[tuple[str, str], Collected]:
        """The spans of one trace by service and name."""
        spans = [span for span in self.spans if span.trace == trace]
        found = {(span.service, span.name): span for span in spans}
        assert len(found) == len(spans)
        return found

    def named(self, name: str) -> list[Collected]:
        return [span for span in self.spans if span.name == name]

    async def receive(self, request: web.Request) -> web.Response:
        for of_resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            resource = {given.key: given.value.string_value for given in of_resource.resource.attributes}
            for scope in of_resource.scope_spans:
                self.spans += [_collected(resource, span) for span in scope.spans]
        return web.Response()


def _collected(resource: dict[str, str], span: Any) -> Collected:
    answered = {given.key: given.value.int_value for given in span.attributes}
    return Collected(
        resource["service.name"],
        resource["service.instance.id"],
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        [link.span_id.hex() for link in span.links],
        span.status.code,
        answered.get("http.response.status_code"),
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
