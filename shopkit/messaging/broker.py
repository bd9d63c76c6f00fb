"""Sessions with RabbitMQ that reconnect by themselves.

Publishing and consuming use separate connections: RabbitMQ throttles a connection that publishes too fast, and that
must not delay acknowledgements.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple, cast

import aio_pika
import aiormq
import structlog
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from shopkit.messaging.topology import Topology
from shopkit.runtime.hosts import cycle_host_urls
from shopkit.runtime.retry import Backoff, Cause, cause_of, pause

HEARTBEAT = 10
# A session that lasted longer than this resets the backoff.
STEADY_SECONDS = 10

# aiormq raises StopAsyncIteration when the other end closes the connection at the start of the handshake.
BROKER_ERRORS = (AMQPError, ChannelInvalidStateError, OSError, asyncio.InvalidStateError, StopAsyncIteration)

log = structlog.get_logger()


class BrokerUnavailable(ConnectionError):
    """The session with the broker is lost or unusable, because of the broker or the network."""


@contextmanager
def translate_broker_errors() -> Generator[None]:
    """Raises BrokerUnavailable instead of each error that the library raises when a session is lost."""
    try:
        yield
    except BROKER_ERRORS as error:
        if cause_of(error) is Cause.DEFECT:
            raise  # an OSError about a file or a process: a handler has raised it
        raise BrokerUnavailable(repr(error)) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # the caller cancelled this task; otherwise aiormq cancelled a future of a stuck connection
        raise BrokerUnavailable("the connection was stuck") from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise BrokerUnavailable("closed") from error  # aiormq raises a bare Exception when the broker hangs up


class RabbitMQ(NamedTuple):
    """The address of a broker, which can name several hosts, and the topology that every session declares."""

    url: str
    topology: Topology


class Session:
    """One connection with one channel. When it is lost, it is opened again with backoff, at the next host.

    The robust connections of aio-pika are not used. They report that they are connected before their channels are
    restored. They also hide a lost channel, and with it lost confirms and acknowledgements
    (docs/adr/0006-plain-broker-sessions-and-batches.md).
    """

    def __init__(self, rabbitmq: RabbitMQ, name: str, work: Callable[[AbstractChannel], Awaitable[None]]) -> None:
        self._addresses = cycle_host_urls(rabbitmq.url)
        self._topology = rabbitmq.topology
        self._name = name
        self._work = work
        self._stopping = asyncio.Event()
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Runs `work` on an open channel until `stop`, again after each loss.

        `work` must return when the channel is lost.
        """
        backoff = Backoff()
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                with translate_broker_errors():
                    await self._once()
            except BrokerUnavailable as error:
                log.warning("broker session lost", session=self._name, error=repr(error))
            finally:
                self.connected.clear()
            if time.monotonic() - started > STEADY_SECONDS:
                backoff.reset()
            await pause(self._stopping, backoff.next())

    def stop(self) -> None:
        """Lets `run` return when `work` returns. `work` must watch `stopping`."""
        self._stopping.set()

    @property
    def stopping(self) -> asyncio.Event:
        return self._stopping

    async def _once(self) -> None:
        connection = await aio_pika.connect(
            next(self._addresses), timeout=5, heartbeat=HEARTBEAT, client_properties={"connection_name": self._name}
        )
        async with connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            await self._topology.declare(channel)
            self.connected.set()
            await self._work(channel)


class PersistentChannel:
    """A channel that many callers share, one session after the other.

    A channel that failed in use, or whose message was refused or returned, is closed together with its connection.
    The state of its other messages is unknown, and the next session declares all queues and bindings again.

    RabbitMQ blocks connections that publish while it is low on memory or disk space. A blocked connection is kept.
    A new connection would learn of the alarm only from its first message, and would report until then that it is
    usable.
    """

    def __init__(self, rabbitmq: RabbitMQ, name: str) -> None:
        self._session = Session(rabbitmq, name, self._hold)
        self._channel: AbstractChannel | None = None
        self._lost = asyncio.Event()

    async def run(self) -> None:
        await self._session.run()

    def stop(self) -> None:
        self._session.stop()
        self._lost.set()

    @property
    def connected(self) -> asyncio.Event:
        return self._session.connected

    async def check(self) -> None:
        """Raises BrokerUnavailable if the channel cannot be used now."""
        async with self.channel():
            pass

    @asynccontextmanager
    async def channel(self) -> AsyncGenerator[AbstractChannel]:
        """Yields the channel.

        Raises BrokerUnavailable if there is none, if it is blocked, or if it is lost in the block.
        """
        channel = self._channel
        if channel is None:
            raise BrokerUnavailable("not connected to the broker")
        if await _is_blocked(channel):
            raise BrokerUnavailable("the broker takes no messages: it is low on memory or disk space")
        try:
            with translate_broker_errors():
                yield channel
        except BrokerUnavailable:
            if not await _is_blocked(channel):
                self._lose()
            raise

    async def _hold(self, channel: AbstractChannel) -> None:
        self._lost.clear()
        channel.close_callbacks.add(self._lose)
        self._channel = channel
        try:
            if not self._session.stopping.is_set():
                await self._lost.wait()
        finally:
            self._channel = None

    def _lose(self, *_: object) -> None:
        self._lost.set()


async def _is_blocked(channel: AbstractChannel) -> bool:
    """Returns whether RabbitMQ has sent `connection.blocked`, and not yet `connection.unblocked`."""
    try:
        underlay = await channel.get_underlay_channel()
        async with asyncio.timeout(0):
            await cast(aiormq.Connection, underlay.connection).ready()
    except TimeoutError:
        return True
    except ChannelInvalidStateError:
        return False
    return False
