"""Hop 10: what Redis publishes for a user -> each socket that this replica holds of that user.

A socket has a position: the offset of the last message it was given. What is not newer is not given
again, and whatever a socket could not be given live (it was joining, Redis was away, it was slow) is read
from the user's stream. So there is no queue per socket, and no message that only memory knows.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, cast

from litestar.exceptions import WebSocketDisconnect
from litestar.types import Send, WebSocketSendEvent
from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio import Redis
from redis.exceptions import RedisError
from uvicorn.protocols.utils import ClientDisconnected

from notifier.closes import Close
from notifier.messages import accepted_at, frame_offset, welcome
from notifier.streams import NEWEST, Entry, Position, Streams, channel, missed
from notifier.subscriber import Subscriber

CATCH_UP_AT_ONCE = 256
SLOW_SECONDS = 10

SOCKETS = Gauge("gozon_sockets", "Open sockets")
USERS = Gauge("gozon_users_connected", "Users with an open socket")
DELIVERED = Counter("gozon_frames_delivered", "Frames written to sockets")
BEHIND = Counter("gozon_sockets_behind", "Times a socket was too slow to take a frame at once")
ORDER_TO_TOAST = Histogram(
    "gozon_order_to_toast_seconds",
    "From accepting an order until its status was at a replica that holds a socket, by the clocks of both",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
WELCOMES = Counter("gozon_welcomes", "Sockets welcomed, by whether all they missed was still there", ["recovered"])

# What sending to a socket raises when its other end has left.
GONE = (WebSocketDisconnect, ClientDisconnected)


def text(frame: bytes) -> WebSocketSendEvent:
    return {"type": "websocket.send", "text": frame.decode(), "bytes": None}


PING = text(b'{"type":"ping"}')


class Published:
    """What Redis publishes: the user's offset before this message, a space, and the frame to pass on."""

    __slots__ = ("accepted_at", "message", "offset", "previous")

    def __init__(self, payload: bytes) -> None:
        previous, _, frame = payload.partition(b" ")
        self.previous = int(previous)
        self.offset = frame_offset(frame)
        self.message = text(frame)
        self.accepted_at = accepted_at(frame)


class Socket:
    """One open WebSocket. Frames wait in `held` only while older ones are being read for it.

    `gap` is the offset of the last frame that had a gap before it.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.epoch = ""
        self.position = 0
        self.gap = 0
        self.held: list[Published] | None = []
        self.joined = False
        self.behind = False
        self.given_up: Close | None = None
        self._owner = asyncio.current_task()

    async def send(self, message: WebSocketSendEvent) -> None:
        """Waits until the socket can take it. Raises one of GONE when it has no other end."""
        try:
            await self._send(message)
        except RuntimeError as error:  # uvicorn has closed it by itself, after a ping without an answer
            raise WebSocketDisconnect(detail=str(error)) from error

    def ping(self) -> bool:
        """Whether the ping was sent; a socket that is behind is pinged when it catches up."""
        return not self.behind and self.offer(PING)

    def give_up(self, why: Close) -> None:
        """Makes the handler, which waits for the client to speak, close the socket."""
        self.given_up = why
        if self._owner is not None:
            self._owner.cancel()

    def offer(self, message: WebSocketSendEvent) -> bool:
        """Writes without waiting. False when the socket cannot take more now, and then nothing was written.

        uvicorn's `send` suspends only while its transport is above the high-water mark, and before it
        writes; so its first step either writes everything or nothing.
        """
        sending = cast("Coroutine[Any, Any, None]", self.send(message))
        try:
            sending.send(None)
        except StopIteration:
            return True
        except GONE:
            return True  # its handler is about to notice
        sending.close()
        return False


class Hub:
    """Sockets by user. `join` and `leave` bracket the life of a socket."""

    def __init__(self, redis: Redis, probing: Redis, replica: str) -> None:
        self._streams = Streams(redis)
        self._replica = replica
        self._users: dict[str, set[Socket]] = {}
        self._user_of: dict[bytes, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.subscriber = Subscriber(probing, self._received, self._restored)

    async def join(self, user_id: str, socket: Socket, since: Position | None) -> None:
        """Subscribes before it reads, so that nothing falls between, and sends the welcome.

        Raises RedisError or TimeoutError while Redis is away.
        """
        name = channel(user_id)
        self._users.setdefault(user_id, set()).add(socket)
        self._user_of[name] = user_id
        SOCKETS.inc()
        USERS.set(len(self._users))
        await self.subscriber.subscribe(name)
        now, kept = await self._streams.read(user_id, since.offset if since else NEWEST)
        async with asyncio.timeout(SLOW_SECONDS):
            await socket.send(self._welcome(socket, now, *missed(since, now, kept)))
        socket.joined = True
        self._release(user_id, socket, [])

    def leave(self, user_id: str, socket: Socket) -> None:
        sockets = self._users[user_id]
        sockets.remove(socket)
        if not sockets:
            name = channel(user_id)
            del self._users[user_id], self._user_of[name]
            self.subscriber.unsubscribe(name)
        SOCKETS.dec()
        USERS.set(len(self._users))

    def _welcome(
        self, socket: Socket, now: Position, recovered: bool, entries: Sequence[Entry]
    ) -> WebSocketSendEvent:
        socket.epoch, socket.position = now.epoch, now.offset
        WELCOMES.labels(str(recovered).lower()).inc()
        return text(welcome(now.epoch, now.offset, recovered, [entry.frame for entry in entries], self._replica))

    def _received(self, name: bytes, payload: bytes) -> None:
        user_id = self._user_of.get(name)
        if user_id is None:
            return
        published = Published(payload)
        if published.accepted_at is not None:
            ORDER_TO_TOAST.observe(time.time() - published.accepted_at)
        for socket in self._users[user_id]:
            if socket.held is not None:
                socket.held.append(published)
            elif not socket.behind:
                self._give(user_id, socket, published)

    def _give(self, user_id: str, socket: Socket, published: Published) -> None:
        if published.offset <= socket.position:
            return
        if published.previous > socket.position:  # what came before was published while nobody listened here
            self._close_gap(user_id, socket, published)
        elif socket.offer(published.message):
            socket.position = published.offset
            DELIVERED.inc()
        else:
            BEHIND.inc()
            self._fall_behind(user_id, socket, PING)

    def _close_gap(self, user_id: str, socket: Socket, published: Published) -> None:
        if socket.gap == published.offset:  # Redis does not know either what came before: it lost some of it
            socket.give_up(Close.TRY_AGAIN)
            return
        socket.gap = published.offset
        socket.held = [published]
        self._spawn(self._catch_up(user_id, socket))

    def _release(self, user_id: str, socket: Socket, entries: Sequence[Entry]) -> None:
        """Gives what was read, which has no gap, and then what was held meanwhile."""
        for entry in entries:
            if entry.offset > socket.position and not socket.behind:
                if socket.offer(text(entry.frame)):
                    socket.position = entry.offset
                    DELIVERED.inc()
                else:
                    BEHIND.inc()
                    self._fall_behind(user_id, socket, PING)
        held, socket.held = socket.held or [], None
        for published in held:
            if socket.held is not None:
                socket.held.append(published)
            elif not socket.behind:
                self._give(user_id, socket, published)

    def _fall_behind(self, user_id: str, socket: Socket, message: WebSocketSendEvent) -> None:
        """Gives nothing live to the socket until it has taken `message` and what came after its position."""
        socket.behind = True
        self._spawn(self._wait_for(user_id, socket, message))

    async def _wait_for(self, user_id: str, socket: Socket, message: WebSocketSendEvent) -> None:
        try:
            async with asyncio.timeout(SLOW_SECONDS):
                await socket.send(message)
        except GONE:
            return  # its handler is about to notice
        except TimeoutError:
            socket.give_up(Close.TOO_SLOW)
        else:
            socket.behind = False
            await self._catch_up(user_id, socket)

    async def _catch_up(self, user_id: str, socket: Socket) -> None:
        """Reads on for one socket where it stopped."""
        try:
            await self._read_on([(user_id, socket)])
        except RedisError:
            socket.give_up(Close.TRY_AGAIN)

    async def _restored(self) -> None:
        """Redis was away: gives every socket what was published meanwhile.

        When Redis leaves again before the end, the next session does it all once more.
        """
        everybody = [(user_id, socket) for user_id, sockets in self._users.items() for socket in sockets]
        for start in range(0, len(everybody), CATCH_UP_AT_ONCE):
            await self._read_on(everybody[start : start + CATCH_UP_AT_ONCE])

    async def _read_on(self, sockets: Sequence[tuple[str, Socket]]) -> None:
        waiting = [(user_id, socket) for user_id, socket in sockets if socket.joined and not socket.behind]
        for _, socket in waiting:
            socket.held = socket.held or []
        read = await self._streams.read_many((user_id, socket.position) for user_id, socket in waiting)
        for (user_id, socket), (now, kept) in zip(waiting, read, strict=True):
            recovered, entries = missed(Position(socket.epoch, socket.position), now, kept)
            if not recovered:
                self._fall_behind(user_id, socket, self._welcome(socket, now, False, []))
            self._release(user_id, socket, entries)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
