"""Hop 10: writes each message that Redis publishes for a user to all sockets of the user on this replica.

Each message of a user has an offset. Each socket has a position: the offset of the last message written to it.

- A message whose offset is not above the position was written before. The hub skips it.
- A published message also carries the offset of the message before it. If that is above the position, the socket
  has missed a message. The hub then reads the user's stream from the position on.
- The hub also reads the stream from the position on when a socket joins, when a slow socket can take data again,
  and when the subscription was lost and is back.

Live messages that arrive during such a read are held in memory, HELD_LIMIT at most, and written after it. Every
message is in the stream before it is published. So sockets have no queues, and a replica that crashes loses
nothing.

If the write buffer of a socket is full, the socket is marked as behind. It gets no live messages until the buffer
has drained, and then catches up from the stream. `wire.py` closes a socket whose client takes nothing for too long.

Offsets can be compared only within an epoch (`streams.py`). If a read shows another epoch, or the stream no longer
has all messages after the position, the socket gets a new `welcome` with `recovered: false`. It says where the
stream ends now, and the client reloads its orders over REST.

If a user opens more sockets than allowed, `presence.lua` evicts the oldest: it publishes the id of that socket on
the user's channel, and the replica that holds the socket closes it.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from itertools import chain
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio import Redis
from redis.exceptions import RedisError
from uuid_utils import uuid7

from notifier import scripts
from notifier.close_codes import Close, restart_reason
from notifier.messages import Ping, encode, welcome
from notifier.presence import Presence
from notifier.scripts import Command
from notifier.streams import (
    Position,
    Read,
    StreamEntry,
    channel,
    parse_read,
    read_command,
    read_many,
    reconnect,
    recovered,
)
from notifier.subscriber import Messages, Subscriber
from notifier.wire import WebSocketProtocol, text_frame
from shopkit.runtime.batcher import Batcher

CATCH_UP_BATCH_SIZE = 256
# About as many as `fan_out.lua` keeps in a stream.
HELD_LIMIT = 100
# A replica that stops closes its sockets in batches, one batch per pause, within about DRAIN_SECONDS.
# DRAIN_BATCH_SIZE is the smallest batch; with many sockets, batches are larger.
DRAIN_SECONDS, DRAIN_PAUSE_SECONDS, DRAIN_BATCH_SIZE = 8, 0.05, 10

_buckets = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SOCKETS = Gauge("gozon_sockets", "Open sockets")
USERS = Gauge("gozon_users_connected", "Users with an open socket")
DELIVERED = Counter("gozon_frames_delivered", "Order frames written to sockets, live or read from streams")
BEHIND = Counter("gozon_sockets_behind", "Times the write buffer of a socket was full, so that a frame had to wait")
GAPS = Counter(
    "gozon_push_gaps",
    "Times a publication showed that a socket had missed messages, which were then read from its user's stream",
)
UNREADABLE = Counter(
    "gozon_unreadable_publications",
    "Messages on users' channels that were skipped because they could not be decoded",
)
EVENT_TO_FRAME = Histogram(
    "gozon_event_to_frame_seconds",
    "From the change of an order's status until its frame was written to sockets, by the clocks of both services",
    buckets=_buckets,
)
ORDER_TO_TOAST = Histogram(
    "gozon_order_to_toast_seconds",
    "From accepting an order until its frame was written to sockets, by the clocks of both services",
    buckets=_buckets,
)
WELCOMES = Counter(
    "gozon_welcomes", "Welcome frames, by whether all missed messages were still in the stream", ["recovered"]
)

PING = text_frame(encode(Ping()))
EVICTED_PREFIX = b"replaced "

log = structlog.get_logger()


class PublishedFrame:
    """A message as `fan_out.lua` publishes it, decoded.

    Its fields are separated by spaces: the offset of the previous message, its own offset, when the order was
    accepted and when its status changed (in ms since 1970, `messages.times`), and the frame for the client.
    Raises ValueError for any other payload.
    """

    __slots__ = ("accepted", "changed", "frame", "offset", "previous")

    def __init__(self, payload: bytes) -> None:
        previous, offset, accepted, changed, frame = payload.split(b" ", 4)
        self.previous = int(previous)
        self.offset = int(offset)
        self.accepted = int(accepted)
        self.changed = int(changed)
        self.frame = text_frame(frame)


class Socket:
    """One open WebSocket of a user, and how far its user's stream was written to it.

    - `wire`: the WebSocket connection.
    - `epoch`, `position`: the offset of the last message that was written, and its epoch.
    - `held`: live frames that wait while older messages are being read; None if no read is under way.
    - `gap`: the offset of the last frame that showed a gap. If the same frame shows a gap again after the stream
      was read, Redis itself has lost the messages in between.
    - `joined`: whether the welcome was sent. Only such sockets take part in later reads.
    - `behind`: whether the write buffer was full and has not drained yet.
    """

    __slots__ = ("behind", "epoch", "gap", "held", "id", "joined", "position", "user_id", "wire")

    def __init__(self, user_id: str, wire: WebSocketProtocol) -> None:
        self.id = uuid7().hex
        self.user_id = user_id
        self.wire = wire
        self.epoch = ""
        self.position = 0
        self.gap = 0
        self.held: list[PublishedFrame] | None = []
        self.joined = False
        self.behind = False

    def hold(self, published: PublishedFrame) -> None:
        """Keeps a frame until the older messages have been read.

        If the limit is reached, the frame replaces the last one. When it is written later, the gap before it shows,
        and the stream is read again.
        """
        self.held = self.held or []
        del self.held[HELD_LIMIT - 1 :]
        self.held.append(published)

    def ping(self) -> bool:
        """Returns whether the ping was sent. If the write buffer is full, it was not."""
        return self.wire.try_send(PING)

    def close(self, why: Close) -> None:
        self.wire.close_with(why, why.reason)


class Hub:
    """The open sockets of this replica, by the channel of their user.

    A caller must call `join` for each new socket, and `leave` when the socket ends, also if `join` failed.

    Memory is bounded by the open sockets. `_sockets` holds each socket once, and `_tasks` at most two catch-ups per
    socket. The batchers hold one item for each such catch-up and for each joining socket.
    """

    def __init__(self, redis: Redis, probing: Redis, replica: str, sockets_per_user: int) -> None:
        self._redis = redis
        self._replica = replica
        self._sockets: dict[bytes, tuple[Socket, ...]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._first_reads: Batcher[tuple[Socket, int | None], Read] = Batcher("first reads", self._read_first)
        self._further_reads: Batcher[Socket, None] = Batcher(
            "further reads", self._read_further, CATCH_UP_BATCH_SIZE
        )
        self.presence = Presence(redis, sockets_per_user, self._on_evicted)
        self.subscriber = Subscriber(probing, self._on_messages, self._on_connecting, self._on_resubscribed)

    async def join(self, socket: Socket, since: Position | None) -> None:
        """Subscribes to the user's channel, reads the stream after `since`, and sends the welcome.

        It subscribes before it reads, so no message falls between the two. Raises RedisError or TimeoutError if
        Redis is unavailable. Subscribing can wait forever, so the caller must set a timeout.
        """
        name = channel(socket.user_id)
        self._sockets[name] = (*self._sockets.get(name, ()), socket)
        self._count(1)
        await self.subscriber.subscribe(name)
        session = self.subscriber.sessions
        read = await self._first_reads.submit((socket, since.offset if since else None))
        self._welcome(socket, read, recovered(since, read))
        socket.joined = True
        self._deliver_backlog(socket, [])
        # If the subscription was lost meanwhile, a message may have been published unheard after the read. The
        # catch-up after a reconnect skips a socket that has not joined, so this socket reads once more.
        if self.subscriber.sessions != session:
            await self._further_reads.submit(socket)

    def leave(self, socket: Socket) -> None:
        """Removes the socket, here and from the user's sockets in Redis.

        This also applies to a socket that never joined, because Redis may have registered it.
        """
        socket.joined = False
        name = channel(socket.user_id)
        remaining = tuple(other for other in self._sockets[name] if other is not socket)
        if remaining:
            self._sockets[name] = remaining
        else:
            del self._sockets[name]
            self.subscriber.unsubscribe(name)
        self._count(-1)
        self.presence.left(socket.user_id, socket.id)

    def acked(self, socket: Socket, offset: int) -> None:
        """Records an acknowledgement. An offset that was never written to this socket is ignored."""
        if offset <= socket.position:
            self.presence.acked(socket.user_id, Position(socket.epoch, offset))

    def heard(self, socket: Socket) -> None:
        """Renews the lease of the socket in Redis, because its client has sent something."""
        self.presence.heard(socket.user_id, socket.id)

    async def drain(self) -> None:
        """Closes all sockets in paced batches. Each client is given a random delay before it reconnects."""
        sockets = self._all_sockets()
        batch_size = max(DRAIN_BATCH_SIZE, round(len(sockets) * DRAIN_PAUSE_SECONDS / DRAIN_SECONDS))
        for start in range(0, len(sockets), batch_size):
            for socket in sockets[start : start + batch_size]:
                socket.wire.close_with(Close.RESTARTING, restart_reason())
            await asyncio.sleep(DRAIN_PAUSE_SECONDS)

    def _count(self, change: int) -> None:
        SOCKETS.inc(change)
        USERS.set(len(self._sockets))

    def _all_sockets(self) -> list[Socket]:
        return list(chain.from_iterable(self._sockets.values()))

    async def _read_first(self, opening: Sequence[tuple[Socket, int | None]]) -> list[Read]:
        """Registers joining sockets in Redis and reads their streams, all in one round trip."""
        commands: list[Command] = []
        for socket, after in opening:
            commands.append(self.presence.opened_command(socket.user_id, socket.id))
            commands.append(read_command(socket.user_id, after))
        try:
            replies = await scripts.run(self._redis, commands)
        finally:
            for socket, _ in opening:
                if socket not in self._sockets.get(channel(socket.user_id), ()):
                    # The socket left during this round trip, and its removal may have reached Redis before its
                    # registration. So it is removed again.
                    self.presence.left(socket.user_id, socket.id)
        return [parse_read(reply) for reply in replies[1::2]]

    def _welcome(self, socket: Socket, read: Read, all_there: bool) -> None:
        """Sends a welcome with the end of the stream and all messages of the read, and moves the socket there."""
        frames = [entry.frame for entry in read.kept]
        frame = text_frame(welcome(read.now.epoch, read.now.offset, all_there, frames, self._replica))
        if socket.wire.try_send(frame):
            socket.epoch, socket.position = read.now.epoch, read.now.offset
            WELCOMES.labels(str(all_there).lower()).inc()
            DELIVERED.inc(len(frames))
        else:
            self._mark_behind(socket)

    def _on_messages(self, messages: Messages) -> None:
        """Writes live messages to their users' sockets, or closes an evicted socket."""
        now = time.time() * 1000
        delivered = 0
        for name, payload in messages:
            sockets = self._sockets.get(name)
            if sockets is None:
                continue
            if payload.startswith(EVICTED_PREFIX):
                self._close_evicted(sockets, payload.removeprefix(EVICTED_PREFIX).decode(errors="replace"))
                continue
            try:
                published = PublishedFrame(payload)
            except ValueError as error:
                UNREADABLE.inc()
                log.error("unreadable publication", channel=repr(name), error=repr(error))
                continue
            written = 0
            for socket in sockets:
                if socket.held is not None:
                    socket.hold(published)
                elif not socket.behind:
                    written += self._deliver(socket, published)
            if written:
                EVENT_TO_FRAME.observe((now - published.changed) / 1000)
                if published.accepted:
                    ORDER_TO_TOAST.observe((now - published.accepted) / 1000)
                delivered += written
        if delivered:
            DELIVERED.inc(delivered)

    def _deliver(self, socket: Socket, published: PublishedFrame) -> bool:
        """Writes a live message, unless it is old, has a gap before it, or the write buffer is full.

        Returns whether it was written.
        """
        if published.offset <= socket.position:
            return False
        if published.previous > socket.position:  # this replica did not receive the message before this one
            self._fill_gap(socket, published)
            return False
        if not socket.wire.try_send(published.frame):
            self._mark_behind(socket)
            return False
        socket.position = published.offset
        return True

    def _fill_gap(self, socket: Socket, published: PublishedFrame) -> None:
        """Holds the message and reads the stream for the messages before it."""
        if socket.gap == published.offset:
            # The stream was read for this gap, and the gap is still there: Redis has lost messages.
            socket.close(Close.TRY_AGAIN)
            return
        GAPS.inc()
        socket.gap = published.offset
        socket.held = [published]
        self._spawn(self._catch_up(socket))

    def _deliver_backlog(self, socket: Socket, entries: Sequence[StreamEntry]) -> None:
        """Writes the messages that were read, and then the live messages that were held during the read.

        Entries of a read have no gap. A held message can have one, and then this starts another read.
        """
        for entry in entries:
            if entry.offset > socket.position and not socket.behind:
                if socket.wire.try_send(text_frame(entry.frame)):
                    socket.position = entry.offset
                    DELIVERED.inc()
                else:
                    self._mark_behind(socket)
        held, socket.held = socket.held or [], None
        for published in held:
            if socket.held is not None:
                socket.hold(published)
            elif not socket.behind:
                DELIVERED.inc(self._deliver(socket, published))

    def _mark_behind(self, socket: Socket) -> None:
        """Stops live messages for the socket until its write buffer has drained and it has caught up."""
        BEHIND.inc()
        socket.behind = True
        self._spawn(self._resume_when_writable(socket))

    async def _resume_when_writable(self, socket: Socket) -> None:
        await socket.wire.drained()
        socket.behind = False
        socket.held = []
        await self._catch_up(socket)

    async def _catch_up(self, socket: Socket) -> None:
        """Reads the stream from the position of the socket on. If Redis is unavailable, closes the socket."""
        try:
            await self._read_or_close(socket)
        except (RedisError, TimeoutError):
            socket.close(Close.TRY_AGAIN)

    async def _read_or_close(self, socket: Socket) -> None:
        """Reads the stream from the position of the socket on, and closes the socket if the stream is unreadable.

        Raises RedisError or TimeoutError if Redis is unavailable; the socket then stays open.
        """
        try:
            await self._further_reads.submit(socket)
        except (RedisError, TimeoutError):
            raise
        except Exception:
            log.exception("cannot read a stream", user_id=socket.user_id)
            socket.close(Close.INTERNAL_ERROR)

    async def _on_connecting(self) -> None:
        """Makes later reads go to the Redis server that the new subscription will use, or to its successor."""
        await reconnect(self._redis)

    async def _on_resubscribed(self) -> None:
        """Catches up every socket after the subscription was lost and all channels are subscribed again.

        If this raises because Redis is unavailable again, the subscriber reconnects and calls it again.
        """
        sockets = self._all_sockets()
        for start in range(0, len(sockets), CATCH_UP_BATCH_SIZE):
            await asyncio.gather(*map(self._read_or_close, sockets[start : start + CATCH_UP_BATCH_SIZE]))

    async def _read_further(self, sockets: Sequence[Socket]) -> list[None]:
        """Reads the streams of several sockets in one round trip and writes the messages.

        The batcher runs one flush at a time, so two reads of a socket never overlap. If they did, the reply of the
        older read could arrive last and move the socket back.
        """
        waiting = [socket for socket in dict.fromkeys(sockets) if socket.joined and not socket.behind]
        for socket in waiting:
            socket.held = socket.held or []
        reads = await read_many(self._redis, ((socket.user_id, socket.position) for socket in waiting))
        for socket, read in zip(waiting, reads, strict=True):
            if recovered(Position(socket.epoch, socket.position), read):
                self._deliver_backlog(socket, read.kept)
            else:
                self._welcome(socket, read, all_there=False)
                self._deliver_backlog(socket, [])
        return [None] * len(sockets)

    def _on_evicted(self, user_id: str, socket_id: str) -> None:
        self._close_evicted(self._sockets.get(channel(user_id), ()), socket_id)

    def _close_evicted(self, sockets: Sequence[Socket], socket_id: str) -> None:
        for socket in sockets:
            if socket.id == socket_id:
                socket.close(Close.REPLACED)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
