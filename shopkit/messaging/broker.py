"""RabbitMQ: the whole topology in one table, and sessions that come back by themselves.

Publishing and consuming use separate connections: the broker slows a connection that publishes too
fast, and that must not hold back acknowledgements.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple, cast

import aio_pika
import aiormq
import structlog
from aio_pika.abc import AbstractChannel, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from shopkit.runtime.hosts import in_turn
from shopkit.runtime.retry import Backoff, Fault, fault_of, pause

DEAD_LETTERS = "gozon.dead-letters"
RESOLVED = "gozon.dead-letters.resolved"
HEARTBEAT = 10
DELIVERY_LIMIT = 20
LONELY_CRASHES = 3
# Looking at a message returns it, and that counts. RabbitMQ 4 drops after 20 when it is not told another
# number, and -1, which it takes for "no limit", makes 3.10 drop after the first look.
PRACTICALLY_UNLIMITED = 1_000_000
RESOLVED_KEPT_MS = 90 * 24 * 3600 * 1000
STEADY_SECONDS = 10

# aiormq lets StopAsyncIteration out of a handshake in which the other end hangs up before it says a word.
LOSSES = (AMQPError, ChannelInvalidStateError, OSError, asyncio.InvalidStateError, StopAsyncIteration)

log = structlog.get_logger()


class Lost(ConnectionError):
    """The session with the broker cannot go on: the broker, or the way to it, is the reason."""


@contextmanager
def losses() -> Generator[None]:
    """Raises Lost for all that the library raises when a session is lost."""
    try:
        yield
    except LOSSES as error:
        if fault_of(error) is Fault.DEFECT:
            raise  # an OSError that is not of a connection: a handler has raised it
        raise Lost(repr(error)) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # somebody cancelled us; otherwise it was aiormq, which cancels what a stuck connection owed
        raise Lost("the connection was stuck") from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise Lost("closed") from error  # aiormq has nothing better to say when the broker hung up


class Queue(NamedTuple):
    """A queue of a consumer. Each event whose type is one of `routing_keys` is published to it."""

    name: str
    routing_keys: tuple[str, ...]

    @property
    def alone(self) -> str:
        """Where those of its messages are handled one by one that came back more than once."""
        return f"{self.name}.alone"

    @property
    def dead(self) -> str:
        """The queue of this queue's dead letters."""
        return f"{self.name}.dead"


ORDER_CREATED = Queue("payments.order-created", ("order.created",))
PAYMENT_RESULTS = Queue("orders.payment-results", ("payment.succeeded", "payment.failed"))
ORDER_STATUS = Queue("notifier.order-status", ("order.finished", "order.cancelled"))
TOPOLOGY = (ORDER_CREATED, PAYMENT_RESULTS, ORDER_STATUS)


def queues_of(routing_key: str) -> list[str]:
    """Returns the names of all queues that must have an event of this type."""
    return [queue.name for queue in TOPOLOGY if routing_key in queue.routing_keys]


async def declare(channel: AbstractChannel) -> None:
    """Every service declares everything, so that nothing published before a consumer's first start vanishes.

    Events need no exchange of ours: in the default exchange, each queue is bound by its name while it exists.
    """
    dead = await channel.declare_exchange(DEAD_LETTERS, "direct", durable=True)
    looked_at = {"x-delivery-limit": PRACTICALLY_UNLIMITED}
    await _quorum(channel, RESOLVED, looked_at | {"x-message-ttl": RESOLVED_KEPT_MS})
    for queue in TOPOLOGY:
        graveyard = await _quorum(channel, queue.dead, looked_at)
        await graveyard.bind(dead, queue.name)
        # The broker gives a message up when it was returned more often than the limit.
        await _quorum(channel, queue.alone, _consumed(queue, LONELY_CRASHES - 1))
        await _quorum(channel, queue.name, _consumed(queue, DELIVERY_LIMIT))


def _consumed(queue: Queue, delivery_limit: int) -> dict[str, Any]:
    return {
        "x-delivery-limit": delivery_limit,
        "x-dead-letter-exchange": DEAD_LETTERS,
        "x-dead-letter-routing-key": queue.name,
        # A dead letter leaves its queue only when the other queue has it; this needs reject-publish.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


async def _quorum(channel: AbstractChannel, name: str, arguments: dict[str, Any]) -> AbstractQueue:
    return await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum", **arguments})


class Session:
    """One connection with one channel, opened again with backoff whenever it is lost, at the next host of `url`.

    aio-pika's own robust connections are not used: they report themselves connected before channels are
    restored, and hide each loss from the code that must not go on as if nothing had happened.
    """

    def __init__(self, url: str, name: str, work: Callable[[AbstractChannel], Awaitable[None]]) -> None:
        self._addresses = in_turn(url)
        self._name = name
        self._work = work
        self._stopping = asyncio.Event()
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Runs `work` on an open channel, again and again; `work` returns when stopped or the channel is lost."""
        backoff = Backoff()
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                with losses():
                    await self._once()
            except Lost as error:
                log.warning("broker session lost", session=self._name, error=repr(error))
            finally:
                self.connected.clear()
            if time.monotonic() - started > STEADY_SECONDS:
                backoff.reset()
            await pause(self._stopping, backoff.next())

    def stop(self) -> None:
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
            await declare(channel)
            self.connected.set()
            await self._work(channel)


class HeldChannel:
    """A channel for whoever has something to say or to ask now and then, as long as the session lasts.

    One that was lost in use, or whose message was refused or returned, is thrown away with its connection: what it
    still holds is unknown, and the next session declares every queue and binding anew.

    RabbitMQ blocks connections that publish while it is low on memory or disk space. A blocked connection is kept.
    A new one would learn of the alarm only from its first message, and would report itself usable until then.
    """

    def __init__(self, url: str, name: str) -> None:
        self._session = Session(url, name, self._hold)
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
        async with self.channel():
            pass

    @asynccontextmanager
    async def channel(self) -> AsyncGenerator[AbstractChannel]:
        """Raises Lost when there is none or it is blocked, and for what the block raises when it was lost."""
        channel = self._channel
        if channel is None:
            raise Lost("not connected to the broker")
        if await _is_blocked(channel):
            raise Lost("the broker takes no messages: it is low on memory or disk space")
        try:
            with losses():
                yield channel
        except Lost:
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
    """Whether RabbitMQ has sent `connection.blocked`, and not yet `connection.unblocked`."""
    try:
        underlay = await channel.get_underlay_channel()
        async with asyncio.timeout(0):
            await cast(aiormq.Connection, underlay.connection).ready()
    except TimeoutError:
        return True
    except ChannelInvalidStateError:
        return False
    return False
