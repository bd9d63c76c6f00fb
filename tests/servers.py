"""Databases, the broker, replacements of services, proxies to servers, and workers that run inside a test."""

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

    async def check_succeeds() -> bool:
        try:
            await check()
        except Exception:  # noqa: BLE001 (any error means that it does not succeed yet)
            return False
        return True

    await eventually(check_succeeds, seconds)


async def stalls(check: Callable[[], Awaitable[None]]) -> None:
    """Waits until `check` raises Stalled."""

    async def check_raises_stalled() -> bool:
        try:
            await check()
        except Stalled:
            return True
        except ConnectionError:
            return False  # there is no session yet
        return False

    await eventually(check_raises_stalled)


@asynccontextmanager
async def running(*workers: Worker) -> AsyncGenerator[None]:
    """Runs the workers like a service, and stops them in reverse order."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for worker, task in reversed(list(zip(workers, tasks, strict=True))):
            worker.stop()
            await asyncio.wait_for(task, PATIENCE)


async def rows(database: Database, query: str, **values: Any) -> list[Row]:
    """Returns the rows of `query`. Its `values` are named, as in `:user_id`."""
    names = list(dict.fromkeys(re.findall(r"(?<!:):(\w+)", query)))
    numbered = re.sub(r"(?<!:):(\w+)", lambda match: f"${names.index(match[1]) + 1}", query)
    async with database.begin() as connection:
        return await connection.fetch(numbered, *(values[name] for name in names))


async def stands_still(database: Database) -> bool:
    """Returns whether a statement waits for a lock of another transaction."""
    return bool(await rows(database, "SELECT 1 FROM pg_locks WHERE NOT granted"))


def counted(metric: str, **labels: str) -> float:
    """Returns the value of a counter of this process."""
    return REGISTRY.get_sample_value(f"{metric}_total", labels) or 0.0


class Broker:
    """A client of RabbitMQ that publishes to the queues of the shop and reads them."""

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
        """Publishes the events in one message, like the relay of their sender."""
        await self.publish_body(events[0].routing_key, encode_batch([event.event for event in events]))

    async def publish_body(self, routing_key: str, body: bytes) -> None:
        for queue in TOPOLOGY.queues_of(routing_key):
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await self.channel.default_exchange.publish(message, queue, mandatory=True)

    async def take(self, name: str) -> AbstractIncomingMessage:
        """Waits for the next message in the queue and removes it."""
        queue = await self.channel.get_queue(name, ensure=False)

        async def next_message() -> AbstractIncomingMessage | None:
            return await queue.get(no_ack=True, fail=False)

        message = await eventually(next_message)
        assert message is not None
        return message

    async def take_events(self, name: str) -> list[dict[str, Any]]:
        """The events of the next message in the queue, which is removed."""
        return json.loads((await self.take(name)).body)

    async def ready_in(self, name: str) -> int:
        """Returns the number of messages in the queue that no consumer has received."""
        queue = await self.channel.declare_queue(name, passive=True)
        return queue.declaration_result.message_count or 0

    async def left_in(self, name: str) -> int:
        """Waits until the queue has no consumer. Returns its number of messages, including unacknowledged ones."""

        async def queue_has_no_consumer() -> bool:
            queue = await self.channel.declare_queue(name, passive=True)
            return queue.declaration_result.consumer_count == 0

        await eventually(queue_has_no_consumer)
        return await self.ready_in(name)


class StandIn:
    """An HTTP server that replaces a service, so that a test decides its responses."""

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


class ProxiedConnection:
    """One connection through a Forwarder."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self.ends = ends
        self.subscribed = False
        self.flowing = asyncio.Event()
        self.flowing.set()


class Forwarder:
    """A TCP proxy to a server, closed at first. A test opens it, and can cut, hold or slow down its connections."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self.port = free_port()
        user, at, _ = target.netloc.rpartition("@")
        self.url = target._replace(netloc=f"{user}{at}127.0.0.1:{self.port}").geturl()
        self._target = (target.hostname, target.port)
        self._listener: asyncio.Server | None = None
        self._connections: set[ProxiedConnection] = set()
        self._holds: Callable[[ProxiedConnection], bool] = _nothing
        self._bytes_per_second = float("inf")

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    def hold(self, *, subscriptions_only: bool = False) -> None:
        """Holds all data, or only that of connections that subscribe. Connections stay open; new ones can open."""
        self._holds = _subscribed if subscriptions_only else _everything
        for connection in self._connections:
            self._update(connection)

    def resume(self, *, forget: bool = False) -> None:
        """Stops holding data. With `forget`, held connections stay silent, as if a router had forgotten them."""
        self._holds = _nothing
        if not forget:
            for connection in self._connections:
                connection.flowing.set()

    def slow_down(self, bytes_per_second: float) -> None:
        """Limits the rate of each connection, in both directions."""
        self._bytes_per_second = bytes_per_second

    async def cut(self) -> None:
        if self._listener is not None:
            # asyncio leaks a connection that is accepted but not yet passed on when its listener closes.
            for socket in self._listener.sockets:
                asyncio.get_running_loop().remove_reader(socket.fileno())
            await asyncio.sleep(0)
            self._listener.close()
            self._listener = None
        for connection in self._connections:
            for end in connection.ends:
                end.transport.abort()
        self.resume()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        connection = ProxiedConnection(writer, server_writer)
        self._connections.add(connection)
        await asyncio.gather(
            self._copy(connection, reader, server_writer), self._copy(connection, server_reader, writer)
        )
        self._connections.discard(connection)

    async def _copy(
        self, connection: ProxiedConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                connection.subscribed |= b"SUBSCRIBE" in data
                self._update(connection)
                await connection.flowing.wait()
                await asyncio.sleep(len(data) / self._bytes_per_second)
                writer.write(data)
                await writer.drain()
        writer.close()

    def _update(self, connection: ProxiedConnection) -> None:
        if self._holds(connection):
            connection.flowing.clear()


def _nothing(_connection: ProxiedConnection) -> bool:
    return False


def _everything(_connection: ProxiedConnection) -> bool:
    return True


def _subscribed(connection: ProxiedConnection) -> bool:
    return connection.subscribed


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
    """A database that is copied from `template` and dropped at the end. The context manager returns its URL."""

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
    """Runs a replica with its database and without a broker, so that no event leaves its outbox."""
    settings = {
        "DATABASE_URL": database.url,
        "BROKER_URL": f"amqp://nobody@127.0.0.1:{free_port()}/",
    }
    replica = Replica(service, settings, log)
    await replica.start()

    await replica.has_its_database(session)
    yield replica
    await replica.stop()
