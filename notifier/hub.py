"""Hop 10: what Redis publishes for a user -> each socket that this replica holds of that user.

A socket has a position: the offset of the last message it was given. What is not newer is not given
again, and whatever a socket could not be given live (it was joining, Redis was away, it was slow) is read
from the user's stream. So there is no queue per socket, and no message that only memory knows.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from itertools import chain
from typing import Any, cast

from litestar.exceptions import WebSocketDisconnect
from litestar.types import Send, WebSocketSendEvent
from prometheus_client import Counter, Gauge
from redis.asyncio import Redis
from redis.exceptions import RedisError
from uvicorn.protocols.utils import ClientDisconnected

from notifier.closes import Close
from notifier.messages import frame_offset, welcome
from notifier.streams import NEWEST, Entry, Position, Streams, channel, missed
from notifier.subscriber import Subscriber

CATCH_UP_AT_ONCE = 256
SLOW_SECONDS = 10

SOCKETS = Gauge("gozon_sockets", "Open sockets")
USERS = Gauge("gozon_users_connected", "Users with an open socket")
DELIVERED = Counter("gozon_frames_delivered", "Frames written to sockets")
BEHIND = Counter("gozon_sockets_behind", "Times a socket was too slow to take a frame at once")
WELCOMES = Counter("gozon_welcomes", "Sockets welcomed, by whether all they missed was still there", ["recovered"])

# What sending to a socket raises when its other end has left.
GONE = (WebSocketDisconnect, ClientDisconnected)


def text(frame: bytes) -> WebSocketSendEvent:
    return {"type": "websocket.send", "text": frame.decode(), "bytes": None}


PING = text(b'{"type":"ping"}')


class Socket:
    """One open WebSocket. Frames wait in `held` only while older ones are being read for it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.epoch = ""
        self.position = 0
        self.held: list[bytes] | None = []
        self.joined = False
        self.behind = False
        self.given_up: Close | None = None
        self._owner = asyncio.current_task()

    async def send(self, message: WebSocketSendEvent) -> None:
        """Waits until the socket can take it."""
        await self._send(message)

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
        sending = cast("Coroutine[Any, Any, None]", self._send(message))
        try:
            sending.send(None)
        except StopIteration:
            return True
        except (*GONE, RuntimeError):  # the last where uvicorn has closed the socket by itself
            return True  # its handler is about to notice
        sending.close()
        return False


class Hub:
    """Sockets by user. `join` and `leave` bracket the life of a socket."""

    def __init__(self, redis: Redis, replica: str) -> None:
        self._streams = Streams(redis)
        self._replica = replica
        self._users: dict[str, set[Socket]] = {}
        self._user_of: dict[bytes, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.subscriber = Subscriber(redis, self._received, self._restored)

    async def join(self, user_id: str, socket: Socket, since: Position | None) -> None:
        """Subscribes before it reads, so that nothing falls between, and sends the welcome.

        Raises RedisError or TimeoutError while Redis is away.
        """
        name = channel(user_id)
        self._users.setdefault(user_id, set()).add(socket)
        self._user_of[name] = user_id
        self._count()
        await self.subscriber.subscribe(name)
        now, kept = await self._streams.read(user_id, since.offset if since else NEWEST)
        await socket.send(self._welcome(socket, now, *missed(since, now, kept)))
        socket.joined = True
        self._release(user_id, socket, [])

    def leave(self, user_id: str, socket: Socket) -> None:
        sockets = self._users.get(user_id, set())
        sockets.discard(socket)
        if not sockets:
            name = channel(user_id)
            self._users.pop(user_id, None)
            self._user_of.pop(name, None)
            self.subscriber.unsubscribe(name)
        self._count()

    def _count(self) -> None:
        USERS.set(len(self._users))
        SOCKETS.set(sum(map(len, self._users.values())))

    def _welcome(
        self, socket: Socket, now: Position, recovered: bool, entries: Sequence[Entry]
    ) -> WebSocketSendEvent:
        socket.epoch, socket.position = now.epoch, now.offset
        WELCOMES.labels(str(recovered).lower()).inc()
        return text(welcome(now.epoch, now.offset, recovered, [entry.frame for entry in entries], self._replica))

    def _received(self, name: bytes, frame: bytes) -> None:
        user_id = self._user_of.get(name)
        if user_id is None:
            return
        offset, message = frame_offset(frame), text(frame)
        for socket in self._users[user_id]:
            if socket.held is not None:
                socket.held.append(frame)
            elif not socket.behind:
                self._give(user_id, socket, offset, message)

    def _give(self, user_id: str, socket: Socket, offset: int, message: WebSocketSendEvent) -> None:
        if offset <= socket.position:
            return
        if socket.offer(message):
            socket.position = offset
            DELIVERED.inc()
        else:
            BEHIND.inc()
            self._fall_behind(user_id, socket, PING)

    def _release(self, user_id: str, socket: Socket, frames: Sequence[bytes]) -> None:
        """Gives what was read and then what was held meanwhile; each once, by the position."""
        frames = [*frames, *(socket.held or ())]
        socket.held = None
        for frame in frames:
            if not socket.behind:
                self._give(user_id, socket, frame_offset(frame), text(frame))

    def _fall_behind(self, user_id: str, socket: Socket, message: WebSocketSendEvent) -> None:
        """Gives nothing live to the socket until it has taken `message` and what came after its position."""
        socket.behind = True
        task = asyncio.create_task(self._wait_for(user_id, socket, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait_for(self, user_id: str, socket: Socket, message: WebSocketSendEvent) -> None:
        try:
            async with asyncio.timeout(SLOW_SECONDS):
                await socket.send(message)
            socket.behind = False
            await self._catch_up([user_id])
        except (*GONE, RuntimeError):
            return  # its handler is about to notice
        except RedisError:
            socket.give_up(Close.TRY_AGAIN)
        except TimeoutError:
            socket.give_up(Close.TOO_SLOW)

    async def _restored(self) -> None:
        """Redis was away: gives every socket what was published meanwhile."""
        users = list(self._users)
        for start in range(0, len(users), CATCH_UP_AT_ONCE):
            await self._catch_up(users[start : start + CATCH_UP_AT_ONCE])

    async def _catch_up(self, user_ids: Sequence[str]) -> None:
        waiting: dict[str, list[Socket]] = {}
        for user_id in user_ids:
            if ready := [s for s in self._users.get(user_id, ()) if s.joined and not s.behind]:
                waiting[user_id] = ready
        for socket in chain.from_iterable(waiting.values()):
            socket.held = socket.held or []
        read = await self._streams.read_many(
            (user_id, min(socket.position for socket in sockets)) for user_id, sockets in waiting.items()
        )
        for (user_id, sockets), (now, kept) in zip(waiting.items(), read, strict=True):
            for socket in sockets:
                since = Position(socket.epoch, socket.position)
                recovered, entries = missed(since, now, [e for e in kept if e.offset > socket.position])
                if not recovered:
                    self._fall_behind(user_id, socket, self._welcome(socket, now, False, []))
                self._release(user_id, socket, [entry.frame for entry in entries])
