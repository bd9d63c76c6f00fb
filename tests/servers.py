"""Databases, the broker, stand-ins for services and the ways to them; workers that run inside a test."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import aiohttp
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiohttp import web
from prometheus_client import REGISTRY
from sqlalchemy import NullPool, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from gozon.topology import TOPOLOGY
from shopkit.db.database import Database, Row
from shopkit.messaging.events import Outgoing, encode_batch
from shopkit.runtime.retry import Stalled
from shopkit.web.service import Worker
from tests.support import PATIENCE, Replica, eventually, free_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def succeeds(check: Callable[[], Awaitable[None]], seconds: float = PATIENCE) -> None:
    """Waits until `check` no longer raises."""

    async def its_success() -> bool:
        try:
            await check()
        except Exception:  # noqa: BLE001 (whatever it is, it does not succeed yet)
            return False
        return True

    await eventually(its_success, seconds)


async def stalls(check: Callable[[], Awaitable[None]]) -> None:
    """Waits until `check` raises Stalled."""

    async def it_has_stalled() -> bool:
        try:
            await check()
        except Stalled:
            return True
        except ConnectionError:
            return False  # there is no session yet
        return False

    await eventually(it_has_stalled)


@asynccontextmanager
async def running(*workers: Worker) -> AsyncGenerator[None]:
    """Runs them as a service does; they end in reverse order."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for worker, task in reversed(list(zip(workers, tasks, strict=True))):
            worker.stop()
            await asyncio.wait_for(task, PATIENCE)


async def rows(database: Database, query: str, **values: Any) -> list[Row]:
    """What `query` finds, if anything; it has its `values` by name, as in `:user_id`."""
    names = list(dict.fromkeys(re.findall(r"(?<!:):(\w+)", query)))
    numbered = re.sub(r"(?<!:):(\w+)", lambda match: f"${names.index(match[1]) + 1}", query)
    async with database.begin() as connection:
        return await connection.fetch(numbered, *(values[name] for name in names))


async def stands_still(database: Database) -> bool:
    """Whether somebody waits for a lock that somebody else holds."""
    return bool(await rows(database, "SELECT 1 FROM pg_locks WHERE NOT granted"))


def counted(metric: str, **labels: str) -> float:
    """What a counter of this process stands at."""
    return REGISTRY.get_sample_value(f"{metric}_total", labels) or 0.0


class Broker:
    """RabbitMQ as those see it who publish to the shop or look into its queues."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None

    async def __aenter__(self) -> "Broker":
        self._connection = await aio_pika.connect(self._url)
        self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        await TOPOLOGY.declare(self._channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._connection is not None
        await self._connection.close()

    @property
    def channel(self) -> AbstractChannel:
        assert self._channel is not None
        return self._channel

    async def publish(self, *events: Outgoing) -> None:
        """One message of `events`, as their sender's relay would publish it."""
        await self.publish_body(events[0].routing_key, encode_batch([event.event for event in events]))

    async def publish_body(self, routing_key: str, body: bytes) -> None:
        for queue in TOPOLOGY.queues_of(routing_key):
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await self.channel.default_exchange.publish(message, queue, mandatory=True)

    async def take(self, name: str) -> AbstractIncomingMessage:
        """Waits for the next message in the queue and removes it."""
        queue = await self.channel.get_queue(name, ensure=False)

        async def its_next_message() -> AbstractIncomingMessage | None:
            return await queue.get(no_ack=True, fail=False)

        message = await eventually(its_next_message)
        assert message is not None
        return message

    async def take_events(self, name: str) -> list[dict[str, Any]]:
        """The events of the next message in the queue, which is removed."""
        return json.loads((await self.take(name)).body)

    async def ready_in(self, name: str) -> int:
        """How many messages lie in the queue, held by no consumer."""
        queue = await self.channel.declare_queue(name, passive=True)
        return queue.declaration_result.message_count or 0

    async def left_in(self, name: str) -> int:
        """How many messages are left once nobody consumes; those that were not acknowledged are back by then."""

        async def nobody_consumes() -> bool:
            queue = await self.channel.declare_queue(name, passive=True)
            return queue.declaration_result.consumer_count == 0

        await eventually(nobody_consumes)
        return await self.ready_in(name)


class StandIn:
    """An HTTP server in the place of a service, so that a test decides how it answers."""

    def __init__(self, handler: Handler) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.seen: list[web.Request] = []
        self._handler = handler
        self._runner: web.AppRunner | None = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        return await self._handler(request)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


class Line:
    """One connection through a Forwarder."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self.ends = ends
        self.subscribed = False
        self.flowing = asyncio.Event()
        self.flowing.set()


class Forwarder:
    """A way to a server: closed at first, then open, and cut or held up at any time."""

    def __init__(self, url: str) -> None:
        there = urlsplit(url)
        self.port = free_port()
        user, at, _ = there.netloc.rpartition("@")
        self.url = there._replace(netloc=f"{user}{at}127.0.0.1:{self.port}").geturl()
        self._there = (there.hostname, there.port)
        self._listener: asyncio.Server | None = None
        self._lines: set[Line] = set()
        self._holds: Callable[[Line], bool] = _nothing
        self._bytes_per_second = float("inf")

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    def hold(self, *, subscriptions_only: bool = False) -> None:
        """Connections stay, new ones are taken, and nothing goes through; or nothing of those that subscribe."""
        self._holds = _subscribed if subscriptions_only else _everything
        for line in self._lines:
            self._consider(line)

    def resume(self, *, forget: bool = False) -> None:
        """What was held goes on; or those connections stay dumb for ever, as if a router had forgotten them."""
        self._holds = _nothing
        if not forget:
            for line in self._lines:
                line.flowing.set()

    def slow_down(self, bytes_per_second: float) -> None:
        """Each connection lets through so much in each direction."""
        self._bytes_per_second = bytes_per_second

    async def cut(self) -> None:
        if self._listener is not None:
            # asyncio leaks a connection that was accepted and not yet handed on when its listener closes.
            for socket in self._listener.sockets:
                asyncio.get_running_loop().remove_reader(socket.fileno())
            await asyncio.sleep(0)
            self._listener.close()
            self._listener = None
        for line in self._lines:
            for end in line.ends:
                end.transport.abort()
        self.resume()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._there)
        line = Line(writer, there_writer)
        self._lines.add(line)
        await asyncio.gather(self._copy(line, reader, there_writer), self._copy(line, there_reader, writer))
        self._lines.discard(line)

    async def _copy(self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                line.subscribed |= b"SUBSCRIBE" in data
                self._consider(line)
                await line.flowing.wait()
                await asyncio.sleep(len(data) / self._bytes_per_second)
                writer.write(data)
                await writer.drain()
        writer.close()

    def _consider(self, line: Line) -> None:
        if self._holds(line):
            line.flowing.clear()


def _nothing(_line: Line) -> bool:
    return False


def _everything(_line: Line) -> bool:
    return True


def _subscribed(line: Line) -> bool:
    return line.subscribed


async def admin(servers: dict[str, Any], statement: str) -> None:
    engine = create_async_engine(
        make_url(servers["databases"]["admin"]).set(drivername="postgresql+asyncpg"),
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
    )
    async with engine.connect() as connection:
        await connection.execute(text(statement))


def database_at(servers: dict[str, Any], name: str) -> str:
    return urlsplit(str(servers["databases"]["admin"]))._replace(path=f"/{name}").geturl()


class CopyOf:
    """A new database, copied from `template` and dropped at the end; entered, it gives its URL."""

    def __init__(self, servers: dict[str, Any], template: str) -> None:
        self._servers = servers
        self._template = template
        self._name = f"test_{uuid4().hex[:12]}"

    async def __aenter__(self) -> str:
        await admin(self._servers, f"CREATE DATABASE {self._name} TEMPLATE {self._template}")
        return database_at(self._servers, self._name)

    async def __aexit__(self, *_: object) -> None:
        await admin(self._servers, f"DROP DATABASE {self._name} WITH (FORCE)")


@asynccontextmanager
async def without_broker(
    service: str, database: Database, session: aiohttp.ClientSession, log: Path
) -> AsyncGenerator[Replica]:
    """A replica that has its database and never a broker, so that nothing leaves its outbox."""
    settings = {
        "DATABASE_URL": database.url,
        "BROKER_URL": f"amqp://nobody@127.0.0.1:{free_port()}/",
    }
    replica = Replica(service, settings, log)
    await replica.start()

    await replica.has_its_database(session)
    yield replica
    await replica.stop()
