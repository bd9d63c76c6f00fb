"""The one pub/sub connection of a replica: it knows what should be subscribed, and when it was deaf.

redis-py's own PubSub reconnects by itself and hides that messages were lost meanwhile. Here each drop is
seen: everything is subscribed again, and `restored` then reads what was missed.
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

SUBSCRIBE_AT_ONCE = 512
READ_AT_ONCE = 64 * 1024
# A link that went dead is noticed, and readiness red, within their sum.
PROBE_SECONDS, PROBE_TIMEOUT = 4, 4
PROBE_KEPT_SECONDS = 60
SUBSCRIBE_TIMEOUT = 5

Messages: TypeAlias = "Sequence[tuple[bytes, bytes]]"

CHANNELS = Gauge(
    "gozon_channels", "Channels that are subscribed to: one for each user with a socket, and one of its own"
)
PROBE_FAILURES = Counter("gozon_probe_failures", "Probes that Redis did not bring back in time")

log = structlog.get_logger()


class Subscriber:
    """`received` gets channel and payload of the messages that came together. `restored` runs when a lost
    connection is back, `connecting` before each one is made.

    Only `_write_changes` sends SUBSCRIBE and UNSUBSCRIBE, and each after Redis has confirmed the one before, so
    that none can race another.

    No set outgrows the sockets. `_wanted` has a channel for each user with a socket, and that of the probe;
    `_asked` those that Redis was last asked for; `_dirty` those that are in one of the two and not in the other;
    `_unconfirmed` at most SUBSCRIBE_AT_ONCE; `_waiters` those of sockets that join.
    """

    def __init__(
        self,
        redis: Redis,
        received: Callable[[Messages], None],
        connecting: Callable[[], Awaitable[None]],
        restored: Callable[[], Awaitable[None]],
    ) -> None:
        self._redis = redis
        self._received = received
        self._connecting = connecting
        self._restored = restored
        self._probe = f"probe:{uuid4().hex}".encode()
        self._wanted: set[bytes] = {self._probe}
        self._asked: set[bytes] = set()
        self._dirty: set[bytes] = set()
        self._unconfirmed: set[bytes] = set()
        self._waiters: dict[bytes, set[asyncio.Future[None]]] = {}
        self._changed = asyncio.Event()
        self._confirmed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._heard = asyncio.Event()
        self._hearing = False
        self.sessions = 0
        """How many connections there have been: between two of them, messages may have been missed."""

    async def subscribe(self, channel: bytes) -> None:
        """Returns when Redis has confirmed, which may be never."""
        self._wanted.add(channel)
        self._change(channel)
        if channel in self._asked and channel not in self._unconfirmed:
            return
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(channel, set()).add(confirmed)
        try:
            await confirmed
        finally:
            self._forget(channel, confirmed)

    def unsubscribe(self, channel: bytes) -> None:
        self._wanted.discard(channel)
        self._change(channel)

    def _change(self, channel: bytes) -> None:
        if (channel in self._wanted) == (channel in self._asked):
            self._dirty.discard(channel)
        else:
            self._dirty.add(channel)
            self._changed.set()

    async def check(self) -> None:
        if not self._hearing:
            raise ConnectionError("not hearing what Redis publishes")

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
                self._hearing = False
                self._asked.clear()
                CHANNELS.set(0)
                self._unconfirmed.clear()
            await pause(self._stopping, backoff.next())

    async def _session(self, backoff: Backoff) -> None:
        await self._connecting()
        pool = self._redis.connection_pool
        # No read timeout: silence is normal here, and the probe finds the silence that is not.
        settings: dict[str, Any] = pool.connection_kwargs | {"socket_timeout": None}
        connection: AbstractConnection = pool.connection_class(**settings)
        self._dirty = set(self._wanted)
        self._changed.set()
        self.sessions += 1
        try:
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT):  # of the handshake's answers, too
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
        """redis-py has connected, but would take a task switch a message; all that came are parsed at once."""
        stream = cast("asyncio.StreamReader", connection._reader)  # pyright: ignore[reportPrivateUsage]
        replies = hiredis.Reader()
        while data := await stream.read(READ_AT_ONCE):
            replies.feed(data)
            messages: list[tuple[bytes, bytes]] = []
            while (reply := replies.gets()) is not False:
                if isinstance(reply, Exception):
                    raise RedisConnectionError(str(reply))
                kind, channel, payload = reply
                if kind == b"message":
                    messages.append((channel, payload))
                    if channel == self._probe:
                        self._heard.set()
                else:
                    self._confirm(kind, channel)
            self._received(messages)
        raise RedisConnectionError("closed by Redis")

    def _confirm(self, kind: bytes, channel: bytes) -> None:
        self._unconfirmed.discard(channel)
        if not self._unconfirmed:
            self._confirmed.set()
        if kind == b"subscribe":
            for waiter in self._waiters.get(channel, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def _forget(self, channel: bytes, waiter: asyncio.Future[None]) -> None:
        waiting = self._waiters[channel]
        waiting.discard(waiter)
        if not waiting:
            del self._waiters[channel]

    async def _write_changes(self, connection: AbstractConnection) -> None:
        while True:
            await self._changed.wait()
            await self._send(connection, "SUBSCRIBE", self._dirty - self._asked)
            await self._send(connection, "UNSUBSCRIBE", self._dirty & self._asked)
            if not self._dirty:
                self._changed.clear()

    async def _send(self, connection: AbstractConnection, command: str, channels: Iterable[bytes]) -> None:
        """Returns when Redis has confirmed the first SUBSCRIBE_AT_ONCE of `channels`."""
        some = set(islice(channels, SUBSCRIBE_AT_ONCE))
        if not some:
            return
        self._asked ^= some
        self._dirty -= some
        self._unconfirmed |= some
        self._confirmed.clear()
        await connection.send_command(command, *some)
        CHANNELS.set(len(self._asked))
        await self._confirmed.wait()

    async def _keep_probing(self, backoff: Backoff) -> None:
        """Publishes to our own channel: an answer proves the whole way, which an open connection does not.

        Writes as well: a primary that was cut off and replaced still publishes, and refuses writes.
        """
        async with asyncio.timeout(SUBSCRIBE_TIMEOUT):
            await self.subscribe(self._probe)
        probe: list[Command] = [
            ("SET", self._probe, b"", "EX", PROBE_KEPT_SECONDS),
            ("PUBLISH", self._probe, b""),
        ]
        while True:
            self._heard.clear()
            try:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    await scripts.run(self._redis, probe)
                    await self._heard.wait()
            except TimeoutError:
                PROBE_FAILURES.inc()
                raise
            if not self._hearing:
                await self._restore()
                backoff.reset()
            await asyncio.sleep(PROBE_SECONDS)

    async def _restore(self) -> None:
        for channel in list(self._wanted):
            try:
                if channel in self._wanted:
                    async with asyncio.timeout(SUBSCRIBE_TIMEOUT):
                        await self.subscribe(channel)
            except TimeoutError:
                if channel in self._wanted:  # otherwise its last socket left while we waited
                    raise
        await self._restored()
        self._hearing = True
        log.info("subscribed", channels=len(self._asked))
