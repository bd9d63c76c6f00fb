"""The one pub/sub connection of a replica to Redis, which notices each interruption.

redis-py's own PubSub reconnects silently, although messages published meanwhile are lost. This subscriber makes
each interruption visible, in three steps:

1. A probe finds a dead connection. Every PROBE_SECONDS the replica publishes a message on a channel of its own. If
   the message does not arrive within PROBE_TIMEOUT, the session ends.
2. The next session opens a new connection and subscribes to every wanted channel again.
3. When Redis has confirmed all of them, `on_resubscribed` reads the missed messages from the streams. The replica
   is ready only after that.

Pub/sub messages are only a fast path. The streams hold every message, so a lost publication delays a notification
and does not lose it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Any, TypeAlias, cast
from uuid import uuid4

import hiredis
import structlog
from prometheus_client import Counter, Gauge
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from notifier import scripts
from notifier.scripts import Command
from shopkit.runtime.retry import Backoff, pause

SUBSCRIBE_BATCH_SIZE = 512
READ_CHUNK_BYTES = 64 * 1024
# A dead connection is noticed, and readiness turns red, within the sum of both.
PROBE_SECONDS, PROBE_TIMEOUT = 4, 4
PROBE_KEPT_SECONDS = 60
SUBSCRIBE_TIMEOUT = 5

Messages: TypeAlias = "Sequence[tuple[bytes, bytes]]"

CHANNELS = Gauge("gozon_channels", "Subscribed channels: one for each user with a socket, and one for the probe")
PROBE_FAILURES = Counter("gozon_probe_failures", "Probe messages that did not come back from Redis in time")

log = structlog.get_logger()


class Subscriber:
    """Keeps the wanted channels subscribed.

    - `on_messages` gets channel and payload of the messages that arrived together.
    - `on_connecting` runs before each connection attempt.
    - `on_resubscribed` runs when all wanted channels are subscribed on a new connection.

    Only `_write_changes` sends SUBSCRIBE and UNSUBSCRIBE. It waits until Redis has confirmed one command before it
    sends the next, so no command can overtake another.

    The size of each collection is bounded by the open sockets:

    - `_wanted`: the channel of each user with a socket, and the channel of the probe.
    - `_requested`: the channels that the commands sent so far have subscribed, whether confirmed or not.
    - `_dirty`: the channels that are in exactly one of these two sets, and so need a command.
    - `_unconfirmed`: the channels of the command that Redis has not confirmed, SUBSCRIBE_BATCH_SIZE at most.
    - `_waiters`: the callers that wait in `subscribe`, by channel.
    """

    def __init__(
        self,
        redis: Redis,
        on_messages: Callable[[Messages], None],
        on_connecting: Callable[[], Awaitable[None]],
        on_resubscribed: Callable[[], Awaitable[None]],
    ) -> None:
        self._redis = redis
        self._on_messages = on_messages
        self._on_connecting = on_connecting
        self._on_resubscribed = on_resubscribed
        self._probe = f"probe:{uuid4().hex}".encode()
        self._wanted: set[bytes] = {self._probe}
        self._requested: set[bytes] = set()
        self._dirty: set[bytes] = set()
        self._unconfirmed: set[bytes] = set()
        self._waiters: dict[bytes, set[asyncio.Future[None]]] = {}
        self._has_changes = asyncio.Event()
        self._confirmed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._probe_arrived = asyncio.Event()
        self._receiving = False
        self.sessions = 0
        """The number of connection attempts so far. If it has changed, messages may have been missed meanwhile."""

    async def subscribe(self, channel: bytes) -> None:
        """Returns when Redis has confirmed the subscription. Without Redis it waits forever."""
        self._wanted.add(channel)
        self._track(channel)
        if channel in self._requested and channel not in self._unconfirmed:
            return
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(channel, set()).add(confirmed)
        try:
            await confirmed
        finally:
            self._remove_waiter(channel, confirmed)

    def unsubscribe(self, channel: bytes) -> None:
        self._wanted.discard(channel)
        self._track(channel)

    def _track(self, channel: bytes) -> None:
        if (channel in self._wanted) == (channel in self._requested):
            self._dirty.discard(channel)
        else:
            self._dirty.add(channel)
            self._has_changes.set()

    async def check(self) -> None:
        if not self._receiving:
            raise ConnectionError("not subscribed: publications of Redis do not arrive")

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        backoff = Backoff(most=5)
        while not self._stopping.is_set():
            try:
                await self._session(backoff)
            except* (RedisError, OSError) as errors:
                log.warning("subscription lost", error=repr(errors.exceptions))
            finally:
                self._receiving = False
                self._requested.clear()
                CHANNELS.set(0)
                self._unconfirmed.clear()
            await pause(self._stopping, backoff.next())

    async def _session(self, backoff: Backoff) -> None:
        await self._on_connecting()
        pool = self._redis.connection_pool
        # No read timeout: a channel can be silent for long. The probe finds a connection that is dead.
        settings: dict[str, Any] = pool.connection_kwargs | {"socket_timeout": None}
        connection: AbstractConnection = pool.connection_class(**settings)
        self._dirty = set(self._wanted)
        self._has_changes.set()
        self.sessions += 1
        try:
            async with asyncio.timeout(
                SUBSCRIBE_TIMEOUT
            ):  # redis-py's own timeout does not cover the handshake replies
                await connection.connect()
            async with asyncio.TaskGroup() as session:
                tasks = [
                    session.create_task(self._read(connection)),
                    session.create_task(self._write_changes(connection)),
                    session.create_task(self._keep_probing(backoff)),
                ]
                await self._stopping.wait()
                for task in tasks:
                    task.cancel()
        finally:
            await connection.disconnect(nowait=True)

    async def _read(self, connection: AbstractConnection) -> None:
        """Parses all messages of a read together. redis-py would need a task switch for each message."""
        stream = cast("asyncio.StreamReader", connection._reader)  # pyright: ignore[reportPrivateUsage]
        replies = hiredis.Reader()
        while data := await stream.read(READ_CHUNK_BYTES):
            replies.feed(data)
            messages: list[tuple[bytes, bytes]] = []
            while (reply := replies.gets()) is not False:
                if isinstance(reply, Exception):
                    raise RedisConnectionError(str(reply))
                kind, channel, payload = reply
                if kind == b"message":
                    messages.append((channel, payload))
                    if channel == self._probe:
                        self._probe_arrived.set()
                else:
                    self._confirm(kind, channel)
            self._on_messages(messages)
        raise RedisConnectionError("closed by Redis")

    def _confirm(self, kind: bytes, channel: bytes) -> None:
        self._unconfirmed.discard(channel)
        if not self._unconfirmed:
            self._confirmed.set()
        if kind == b"subscribe":
            for waiter in self._waiters.get(channel, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def _remove_waiter(self, channel: bytes, waiter: asyncio.Future[None]) -> None:
        waiting = self._waiters[channel]
        waiting.discard(waiter)
        if not waiting:
            del self._waiters[channel]

    async def _write_changes(self, connection: AbstractConnection) -> None:
        """Sends a command for each batch of dirty channels until none is left, and waits for the next change."""
        while True:
            await self._has_changes.wait()
            await self._send(connection, "SUBSCRIBE", self._dirty - self._requested)
            await self._send(connection, "UNSUBSCRIBE", self._dirty & self._requested)
            if not self._dirty:
                self._has_changes.clear()

    async def _send(self, connection: AbstractConnection, command: str, channels: Iterable[bytes]) -> None:
        """Sends the command for up to SUBSCRIBE_BATCH_SIZE channels. Returns when Redis has confirmed them."""
        batch = set(islice(channels, SUBSCRIBE_BATCH_SIZE))
        if not batch:
            return
        self._requested ^= batch
        self._dirty -= batch
        self._unconfirmed |= batch
        self._confirmed.clear()
        await connection.send_command(command, *batch)
        CHANNELS.set(len(self._requested))
        await self._confirmed.wait()

    async def _keep_probing(self, backoff: Backoff) -> None:
        """Publishes to the replica's own channel at intervals. Raises TimeoutError if a probe does not return.

        A probe that returns proves that publications arrive, which an open connection does not. The probe also
        writes a key: a primary that was cut off and replaced still publishes, but refuses writes.
        """
        async with asyncio.timeout(SUBSCRIBE_TIMEOUT):
            await self.subscribe(self._probe)
        probe: list[Command] = [
            ("SET", self._probe, b"", "EX", PROBE_KEPT_SECONDS),
            ("PUBLISH", self._probe, b""),
        ]
        while True:
            self._probe_arrived.clear()
            try:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    await scripts.run(self._redis, probe)
                    await self._probe_arrived.wait()
            except TimeoutError:
                PROBE_FAILURES.inc()
                raise
            if not self._receiving:
                await self._resubscribe()
                backoff.reset()
            await asyncio.sleep(PROBE_SECONDS)

    async def _resubscribe(self) -> None:
        """Waits until every wanted channel is subscribed, lets the sockets catch up, and turns readiness green."""
        for channel in list(self._wanted):
            try:
                if channel in self._wanted:
                    async with asyncio.timeout(SUBSCRIBE_TIMEOUT):
                        await self.subscribe(channel)
            except TimeoutError:
                if channel in self._wanted:  # otherwise the last socket of that user left during the wait
                    raise
        await self._on_resubscribed()
        self._receiving = True
        log.info("subscribed", channels=len(self._requested))
