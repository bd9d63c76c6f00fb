"""The skeleton of a service: one process is one replica, with HTTP, relay and consumers in one event loop.

Background work is supervised: when a worker ends before it is told to, the process ends, so that the
supervisor in front starts a whole one. A replica is never healthy while its worker is dead.
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
# Longer than the gateway and nginx keep an idle connection, so that it is never us who closes one
# at the moment a request is written to it.
KEEP_ALIVE_SECONDS = 75

TASKS = Gauge("gozon_tasks", "asyncio tasks")

log = structlog.get_logger()

Check = Callable[[], Awaitable[None]]


class Worker(Protocol):
    """Work in the background. `stop` asks `run` to finish what it has in hand and return."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


class Service:
    """`about` introduces its OpenAPI document.

    `workers` are started in order and stopped in reverse order, each after the ones that feed it.
    `checks` are the parts that readiness reports; each raises when its part cannot be used. `measures` set
    the gauges that are only known when somebody asks. `websocket` is uvicorn's protocol for those who have
    sockets, and `drain` sends their clients away before the service stops listening. A handler should name
    one of the `dependencies` at most: Litestar resolves two of them in a task group, which costs more than
    the rest of a small request.
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
        """Runs until SIGTERM or SIGINT, or until a worker dies; in that case exits with status 1."""
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
        calm_the_collector()
        open_many_files()

        def leave() -> None:
            server.should_exit = True

        self._exit = leave
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
            exception_handlers={Exception: problems.answer},
            lifespan=[self._lifespan],
            logging_config=None,
            middleware=[correlate],
            request_max_body_size=BODY_LIMIT,
            openapi_config=None,
        )
        _allow_every_method(app)
        return app

    async def _before_shutdown(self) -> None:
        """Readiness is red while everything still answers, so that whoever asks can send new clients elsewhere."""
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
        tracing.stop()  # not after the server, which ends the process by the signal that told it to stop

    async def _supervise(self, worker: Worker) -> None:
        try:
            await worker.run()
            if self._stopping:
                return
            log.critical("worker ended by itself", worker=type(worker).__name__)
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
            well = not self._stopping and not self.failed and all(part == "ok" for part in parts.values())
            status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
            return Response({"ready": well, "parts": parts, "replica": self.settings.replica}, status_code=status)

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
    """uvicorn closes its listener first thing; `before` runs ahead of that."""

    def __init__(self, config: uvicorn.Config, before: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._before = before

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._before()
        await super().shutdown(sockets)


def _allow_every_method(app: Litestar) -> None:
    """Litestar 2 answers OPTIONS by the first handler of an address alone (litestar-org/litestar#4169)."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            _, model = route.route_handler_map["OPTIONS"]
            every = route.create_options_handler(route.path)
            every.owner = app  # not a router, whose calls may need a user
            every.on_registration(app)
            route.route_handler_map["OPTIONS"] = every, model


def calm_the_collector() -> None:
    """A batch makes tens of thousands of objects that die with it, without cycles.

    By default Python's cyclic collector walks them, and all modules, again and again: a quarter of the time
    of charging (`loadtest.bench.charge`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def open_many_files() -> None:
    """Raises the limit to the highest that we may have; a socket is a file, and many systems begin at 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@get("/health/live", include_in_schema=False)
async def _live() -> dict[str, str]:
    return {"status": "live"}


async def _outcome(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 (whatever it is, the part cannot be used)
        return f"{type(error).__name__}: {error}"
    return "ok"
