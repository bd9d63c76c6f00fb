"""Hop 10: what Redis publishes for a user -> each socket that this replica holds of that user.

A socket has a position: the offset of the last message it was given. What is not newer is not given
again, and whatever a socket could not be given live (it was joining, Redis was away, it was slow) is read
from the user's stream. So there is no queue per socket, and no message that only memory knows.
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
from notifier.close_codes import Close, come_back_later
from notifier.messages import Ping, encode, welcome
from notifier.presence import Presence
from notifier.scripts import Command
from notifier.streams import (
    Position,
    Read,
    StreamEntry,
    channel,
    connect_anew,
    read_many,
    reading,
    recovered,
    what_was_read,
)
from notifier.subscriber import Messages, Subscriber
from notifier.wire import WebSocketProtocol, text_frame
from shopkit.runtime.batcher import Batcher

CATCH_UP_AT_ONCE = 256
# As many as a stream keeps.
HELD_LIMIT = 100
# A replica that ends sends its clients to the others a few at a time, and every one after a moment of its own.
DRAIN_SECONDS, DRAIN_STEP, DRAIN_AT_ONCE = 8, 0.05, 10

_buckets = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SOCKETS = Gauge("gozon_sockets", "Open sockets")
USERS = Gauge("gozon_users_connected", "Users with an open socket")
DELIVERED = Counter("gozon_frames_delivered", "Order frames written to sockets, live or read from streams")
BEHIND = Counter("gozon_sockets_behind", "Times a socket was too slow to take a frame at once")
GAPS = Counter("gozon_push_gaps", "Times a socket had missed messages, which were then read from its user's stream")
UNREADABLE = Counter("gozon_unreadable_publications", "Publications of Redis that nobody could read, and left out")
EVENT_TO_FRAME = Histogram(
    "gozon_event_to_frame_seconds",
    "From the change of an order's status until its frame was written here, by the clocks of both",
    buckets=_buckets,
)
ORDER_TO_TOAST = Histogram(
    "gozon_order_to_toast_seconds",
    "From accepting an order until its frame was written here, by the clocks of both",
    buckets=_buckets,
)
WELCOMES = Counter("gozon_welcomes", "Sockets welcomed, by whether all they missed was still there", ["recovered"])

PING = text_frame(encode(Ping()))
REPLACED = b"replaced "

log = structlog.get_logger()


class PublishedFrame:
    """What `fan_out.lua` publishes: offset before the message, its own, two times, and the frame to pass on."""

    __slots__ = ("accepted", "changed", "frame", "offset", "previous")

    def __init__(self, payload: bytes) -> None:
        previous, offset, accepted, changed, frame = payload.split(b" ", 4)
        self.previous = int(previous)
        self.offset = int(offset)
        self.accepted = int(accepted)
        self.changed = int(changed)
        self.frame = text_frame(frame)


class Socket:
    """One open WebSocket. Frames wait in `held` only while older ones are being read for it, HELD_LIMIT at most.

    `gap` is the offset of the last frame that had a gap before it.
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
        """Keeps a frame until older ones are read.

        Beyond the limit, the frame replaces the last one. The gap that this makes is read from the stream.
        """
        self.held = self.held or []
        del self.held[HELD_LIMIT - 1 :]
        self.held.append(published)

    def ping(self) -> bool:
        """Returns whether the ping was sent. The wire closes a socket that takes nothing anyway."""
        return self.wire.try_send(PING)

    def close(self, why: Close) -> None:
        self.wire.close_with(why, why.reason)


class Hub:
    """Sockets by user. `join` and `leave` bracket the life of a socket.

    Nothing here outgrows the open sockets: `_sockets` holds each of them once, `_tasks` two catch-ups of each at
    most, and the batchers what these and the sockets that join wait for.
    """

    def __init__(self, redis: Redis, probing: Redis, replica: str, sockets_per_user: int) -> None:
        self._redis = redis
        self._replica = replica
        self._sockets: dict[bytes, tuple[Socket, ...]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: Batcher[tuple[Socket, int | None], Read] = Batcher("first reads", self._read_first)
        self._read_on: Batcher[Socket, None] = Batcher("further reads", self._read_further, CATCH_UP_AT_ONCE)
        self.presence = Presence(redis, sockets_per_user, self._replaced)
        self.subscriber = Subscriber(probing, self._received, self._connecting, self._restored)

    async def join(self, socket: Socket, since: Position | None) -> None:
        """Subscribes before it reads, so that nothing falls between, and sends the welcome.

        Raises RedisError or TimeoutError while Redis is away; how long it waits is up to the caller.
        """
        name = channel(socket.user_id)
        self._sockets[name] = (*self._sockets.get(name, ()), socket)
        self._count(1)
        await self.subscriber.subscribe(name)
        session = self.subscriber.sessions
        read = await self._open.submit((socket, since.offset if since else None))
        self._welcome(socket, read, recovered(since, read))
        socket.joined = True
        self._release(socket, [])
        # A publication between two sessions reached no replica, and `_restored` passes over a socket that joins.
        if self.subscriber.sessions != session:
            await self._read_on.submit(socket)

    def leave(self, socket: Socket) -> None:
        """Gives back the socket's place in Redis also when it never joined: its opening may have reached Redis."""
        socket.joined = False
        name = channel(socket.user_id)
        left = tuple(other for other in self._sockets[name] if other is not socket)
        if left:
            self._sockets[name] = left
        else:
            del self._sockets[name]
            self.subscriber.unsubscribe(name)
        self._count(-1)
        self.presence.left(socket.user_id, socket.id)

    def acked(self, socket: Socket, offset: int) -> None:
        """What was never given to this socket is not acknowledged."""
        if offset <= socket.position:
            self.presence.acked(socket.user_id, Position(socket.epoch, offset))

    def heard(self, socket: Socket) -> None:
        self.presence.heard(socket.user_id, socket.id)

    async def drain(self) -> None:
        """Sends everybody to other replicas, in paced batches, each with its own delay before it comes back."""
        everybody = self._everybody()
        at_once = max(DRAIN_AT_ONCE, round(len(everybody) * DRAIN_STEP / DRAIN_SECONDS))
        for start in range(0, len(everybody), at_once):
            for socket in everybody[start : start + at_once]:
                socket.wire.close_with(Close.RESTARTING, come_back_later())
            await asyncio.sleep(DRAIN_STEP)

    def _count(self, change: int) -> None:
        SOCKETS.inc(change)
        USERS.set(len(self._sockets))

    def _everybody(self) -> list[Socket]:
        return list(chain.from_iterable(self._sockets.values()))

    async def _read_first(self, opening: Sequence[tuple[Socket, int | None]]) -> list[Read]:
        commands: list[Command] = []
        for socket, after in opening:
            commands.append(self.presence.opening(socket.user_id, socket.id))
            commands.append(reading(socket.user_id, after))
        try:
            replies = await scripts.run(self._redis, commands)
        finally:
            for socket, _ in opening:
                if socket not in self._sockets.get(channel(socket.user_id), ()):
                    # It left meanwhile, and Redis may have been told so before it was told of the opening.
                    self.presence.left(socket.user_id, socket.id)
        return [what_was_read(reply) for reply in replies[1::2]]

    def _welcome(self, socket: Socket, read: Read, all_there: bool) -> None:
        """Says where the stream stands, and gives what is still there."""
        frames = [entry.frame for entry in read.kept]
        frame = text_frame(welcome(read.now.epoch, read.now.offset, all_there, frames, self._replica))
        if socket.wire.try_send(frame):
            socket.epoch, socket.position = read.now.epoch, read.now.offset
            WELCOMES.labels(str(all_there).lower()).inc()
            DELIVERED.inc(len(frames))
        else:
            self._fall_behind(socket)

    def _received(self, messages: Messages) -> None:
        now = time.time() * 1000
        delivered = 0
        for name, payload in messages:
            sockets = self._sockets.get(name)
            if sockets is None:
                continue
            if payload.startswith(REPLACED):
                self._replaced_by_name(sockets, payload.removeprefix(REPLACED).decode(errors="replace"))
                continue
            try:
                published = PublishedFrame(payload)
            except ValueError as error:
                UNREADABLE.inc()
                log.error("unreadable publication", channel=repr(name), error=repr(error))
                continue
            given = 0
            for socket in sockets:
                if socket.held is not None:
                    socket.hold(published)
                elif not socket.behind:
                    given += self._give(socket, published)
            if given:
                EVENT_TO_FRAME.observe((now - published.changed) / 1000)
                if published.accepted:
                    ORDER_TO_TOAST.observe((now - published.accepted) / 1000)
                delivered += given
        if delivered:
            DELIVERED.inc(delivered)

    def _give(self, socket: Socket, published: PublishedFrame) -> bool:
        """Whether it was written now."""
        if published.offset <= socket.position:
            return False
        if published.previous > socket.position:  # what came before was published while nobody listened here
            self._close_gap(socket, published)
            return False
        if not socket.wire.try_send(published.frame):
            self._fall_behind(socket)
            return False
        socket.position = published.offset
        return True

    def _close_gap(self, socket: Socket, published: PublishedFrame) -> None:
        if socket.gap == published.offset:  # Redis does not know either what came before: it lost some of it
            socket.close(Close.TRY_AGAIN)
            return
        GAPS.inc()
        socket.gap = published.offset
        socket.held = [published]
        self._spawn(self._catch_up(socket))

    def _release(self, socket: Socket, entries: Sequence[StreamEntry]) -> None:
        """Gives what was read, which has no gap, and then what was held meanwhile."""
        for entry in entries:
            if entry.offset > socket.position and not socket.behind:
                if socket.wire.try_send(text_frame(entry.frame)):
                    socket.position = entry.offset
                    DELIVERED.inc()
                else:
                    self._fall_behind(socket)
        held, socket.held = socket.held or [], None
        for published in held:
            if socket.held is not None:
                socket.hold(published)
            elif not socket.behind:
                DELIVERED.inc(self._give(socket, published))

    def _fall_behind(self, socket: Socket) -> None:
        """Gives nothing live to the socket until it can take what came after its position."""
        BEHIND.inc()
        socket.behind = True
        self._spawn(self._wait_for(socket))

    async def _wait_for(self, socket: Socket) -> None:
        await socket.wire.drained()
        socket.behind = False
        socket.held = []
        await self._catch_up(socket)

    async def _catch_up(self, socket: Socket) -> None:
        """Reads on for one socket where it stopped, or closes it."""
        try:
            await self._read_or_close(socket)
        except (RedisError, TimeoutError):
            socket.close(Close.TRY_AGAIN)

    async def _read_or_close(self, socket: Socket) -> None:
        """Raises RedisError or TimeoutError while Redis is unavailable; the socket then stays open."""
        try:
            await self._read_on.submit(socket)
        except (RedisError, TimeoutError):
            raise
        except Exception:
            log.exception("cannot read a stream", user_id=socket.user_id)
            socket.close(Close.INTERNAL_ERROR)

    async def _connecting(self) -> None:
        """What is read from now on comes from the Redis that will publish, or from its successor."""
        await connect_anew(self._redis)

    async def _restored(self) -> None:
        """Redis was away: gives every socket what was published meanwhile.

        When Redis leaves again before the end, the next session does it all once more.
        """
        everybody = self._everybody()
        for start in range(0, len(everybody), CATCH_UP_AT_ONCE):
            await asyncio.gather(*map(self._read_or_close, everybody[start : start + CATCH_UP_AT_ONCE]))

    async def _read_further(self, sockets: Sequence[Socket]) -> list[None]:
        """Reads and gives before the batcher begins its next read: no two reads of a socket overlap.

        The later of two that did could move the socket back to what the earlier had found.
        """
        waiting = [socket for socket in dict.fromkeys(sockets) if socket.joined and not socket.behind]
        for socket in waiting:
            socket.held = socket.held or []
        reads = await read_many(self._redis, ((socket.user_id, socket.position) for socket in waiting))
        for socket, read in zip(waiting, reads, strict=True):
            if recovered(Position(socket.epoch, socket.position), read):
                self._release(socket, read.kept)
            else:
                self._welcome(socket, read, all_there=False)
                self._release(socket, [])
        return [None] * len(sockets)

    def _replaced(self, user_id: str, socket_id: str) -> None:
        self._replaced_by_name(self._sockets.get(channel(user_id), ()), socket_id)

    def _replaced_by_name(self, sockets: Sequence[Socket], socket_id: str) -> None:
        for socket in sockets:
            if socket.id == socket_id:
                socket.close(Close.REPLACED)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
