"""The process of a service: one process is one replica, with HTTP server and workers in one event loop.

Workers are supervised. If a worker ends before it is stopped, the process exits and its supervisor restarts it, so
no replica is healthy with a dead worker.
"""

import asyncio
import gc
import resource
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Protocol

import structlog
import uvicorn
from litestar import Litestar, Response, get
from litestar.di import Provide
from litestar.routes import HTTPRoute
from litestar.types import ControllerRouterHandler
from prometheus_client import CONTENT_TYPE_LATEST, Gauge

from shopkit import VERSION
from shopkit.observability import tracing
from shopkit.observability.logging import configure_logging
from shopkit.observability.metrics import BUILD, exposition
from shopkit.runtime.settings import Settings
from shopkit.web import openapi, problems
from shopkit.web.protocol import HttpProtocol
from shopkit.web.request_context import correlate

BODY_LIMIT = 64 * 1024
CHECK_SECONDS = 3
STOP_SECONDS = 15
# Longer than the gateway and nginx keep an idle connection. So it is never the service that closes a connection
# at the moment when they write a request to it.
KEEP_ALIVE_SECONDS = 75

TASKS = Gauge("gozon_tasks", "asyncio tasks")

log = structlog.get_logger()

Check = Callable[[], Awaitable[None]]


class Worker(Protocol):
    """A background task. `stop` asks `run` to finish its current work and return."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


class Service:
    """A service with its HTTP handlers, workers, health checks and metrics.

    `about` is the description in its OpenAPI document. `workers` are started in the given order and stopped in
    reverse order, so a worker stops after the workers that feed it. `checks` are the parts that readiness reports;
    a check raises if its part cannot be used. `measures` are called for each request to /metrics, to set gauges.
    `websocket` is uvicorn's WebSocket protocol. `drain` disconnects WebSocket clients before the service stops
    listening.

    A handler should name at most one of the `dependencies`. For two, Litestar starts a task group, which costs more
    than the rest of a small request.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        handlers: Sequence[ControllerRouterHandler],
        about: str = "",
        workers: Sequence[Worker] = (),
        checks: Mapping[str, Check] | None = None,
        measures: Sequence[Callable[[], Awaitable[None]]] = (),
        dependencies: Mapping[str, Callable[..., Any]] | None = None,
        websocket: type[asyncio.Protocol] | None = None,
        drain: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.failed = False
        self._workers = workers
        self._checks = checks or {}
        self._measures = measures
        self._websocket = websocket
        self._drain = drain
        self._stopping = False
        self._exit: Callable[[], None] = lambda: None
        self.app = self._build(handlers, dependencies or {})
        self.document = openapi.document(name, about, self.app)

    def serve(self) -> None:
        """Runs until SIGTERM or SIGINT. If a worker dies, the process exits with status 1."""
        configure_logging(self.name, self.settings.replica, self.settings.log_level)
        config = uvicorn.Config(
            self.app,
            host=self.settings.host,
            port=self.settings.port,
            loop="uvloop",
            http=HttpProtocol,
            ws=self._websocket or "none",
            ws_per_message_deflate=False,
            ws_max_size=4096,
            ws_ping_interval=None,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = _Server(config, self._before_shutdown)
        tune_garbage_collector()
        raise_file_limit()

        def exit_server() -> None:
            server.should_exit = True

        self._exit = exit_server
        log.info("starting", host=self.settings.host, port=self.settings.port)
        BUILD.info(
            {
                "service": self.name,
                "replica": self.settings.replica,
                "version": VERSION,
                "revision": self.settings.revision,
            }
        )
        tracing.start(self.name, self.settings.replica)
        server.run()
        if self.failed:
            sys.exit(1)

    def _build(
        self, handlers: Sequence[ControllerRouterHandler], dependencies: Mapping[str, Callable[..., Any]]
    ) -> Litestar:
        app = Litestar(
            route_handlers=[*handlers, _live, self._ready(), self._metrics(), self._openapi()],
            dependencies={name: Provide(make, sync_to_thread=False) for name, make in dependencies.items()},
            exception_handlers={Exception: problems.problem_response},
            lifespan=[self._lifespan],
            logging_config=None,
            middleware=[correlate],
            request_max_body_size=BODY_LIMIT,
            openapi_config=None,
        )
        _allow_every_method(app)
        return app

    async def _before_shutdown(self) -> None:
        """Makes readiness fail while requests are still served, so that load balancers choose other replicas."""
        self._stopping = True
        if self._drain is not None:
            await self._drain()

    @asynccontextmanager
    async def _lifespan(self, _app: Litestar) -> AsyncGenerator[None]:
        tasks = [asyncio.create_task(self._supervise(worker)) for worker in self._workers]
        yield
        self._stopping = True
        try:
            async with asyncio.timeout(STOP_SECONDS):
                for worker, task in reversed(list(zip(self._workers, tasks, strict=True))):
                    worker.stop()
                    await task
        except TimeoutError:
            log.error("workers did not stop in time")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        tracing.stop()  # must happen here: after this, uvicorn ends the process by the signal that it received

    async def _supervise(self, worker: Worker) -> None:
        try:
            await worker.run()
            if self._stopping:
                return
            log.critical("worker ended unexpectedly", worker=type(worker).__name__)
        except (Exception, asyncio.CancelledError) as error:
            if self._stopping and isinstance(error, asyncio.CancelledError):
                raise
            log.critical("worker died", worker=type(worker).__name__, exc_info=True)
        self.failed = True
        self._exit()

    def _ready(self) -> ControllerRouterHandler:
        @get("/health/ready", include_in_schema=False)
        async def ready() -> Response[dict[str, Any]]:
            parts = dict(
                zip(self._checks, await asyncio.gather(*map(_outcome, self._checks.values())), strict=True)
            )
            is_ready = not self._stopping and not self.failed and all(part == "ok" for part in parts.values())
            status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
            return Response({"ready": is_ready, "parts": parts, "replica": self.settings.replica}, status_code=status)

        return ready

    def _metrics(self) -> ControllerRouterHandler:
        @get("/metrics", include_in_schema=False)
        async def metrics() -> Response[bytes]:
            await asyncio.gather(*(measure() for measure in self._measures))
            TASKS.set(len(asyncio.all_tasks()))
            return Response(exposition(self.name), media_type=CONTENT_TYPE_LATEST)

        return metrics

    def _openapi(self) -> ControllerRouterHandler:
        @get("/schema/openapi.json", include_in_schema=False)
        async def document() -> dict[str, Any]:
            return self.document

        return document


class _Server(uvicorn.Server):
    """A uvicorn server that awaits `before` when it shuts down, before it closes its listening socket."""

    def __init__(self, config: uvicorn.Config, before: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._before = before

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._before()
        await super().shutdown(sockets)


def _allow_every_method(app: Litestar) -> None:
    """Lists all methods of a path in the response to OPTIONS. Litestar 2 lists the first handler's methods only.

    See litestar-org/litestar#4169.
    """
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            _, model = route.route_handler_map["OPTIONS"]
            options = route.create_options_handler(route.path)
            options.owner = app  # the owner must not be a router: its `before_request` may require a user
            options.on_registration(app)
            route.route_handler_map["OPTIONS"] = options, model


def tune_garbage_collector() -> None:
    """Makes Python's cyclic garbage collector run seldom, and excludes all objects that exist now.

    A batch creates tens of thousands of short-lived objects without cycles. With the default thresholds the
    collector visits them and all modules many times: a quarter of the time of charging (`loadtest.bench.charge`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def raise_file_limit() -> None:
    """Raises the limit of open files to the hard limit. Each socket is a file, and many systems default to 1,024."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


@get("/health/live", include_in_schema=False)
async def _live() -> dict[str, str]:
    return {"status": "live"}


async def _outcome(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 (any error means that the part cannot be used)
        return f"{type(error).__name__}: {error}"
    return "ok"
