"""A hub inside a test, on a real Redis, with sockets whose clients take everything."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from notifier import scripts
from notifier.fan_out import EncodedEvent
from notifier.hub import Hub, Socket
from notifier.messages import decode_order_status
from notifier.scripts import Command
from notifier.streams import connect, sockets_key
from notifier.wire import WebSocketProtocol
from tests.notifier.push_events import status_event
from tests.servers import running, succeeds


class Taking:
    """A wire that takes everything, and remembers what it was given and how it was closed."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.closed: list[int] = []

    def try_send(self, frame: bytes) -> bool:
        self.frames.append(json.loads(frame[frame.index(b"{") :]))
        return True

    async def drained(self) -> None: ...

    def close_with(self, code: int, _reason: str) -> None:
        self.closed.append(code)

    def offsets(self) -> list[int]:
        """The offsets of all order frames, those of a welcome included."""
        orders = (frame["missed"] if frame["type"] == "welcome" else [frame] for frame in self.frames)
        return [order["o"] for frames in orders for order in frames]


def a_socket(user_id: str) -> tuple[Socket, Taking]:
    wire = Taking()
    return Socket(user_id, cast("WebSocketProtocol", wire)), wire


@asynccontextmanager
async def a_hub(url: str) -> AsyncGenerator[Hub]:
    redis, probing = connect(url), connect(url)
    hub = Hub(redis, probing, "a-replica", sockets_per_user=10)
    try:
        async with running(hub.presence, hub.subscriber):
            await succeeds(hub.subscriber.check)
            yield hub
    finally:
        for connections in (redis, probing):
            await connections.aclose(close_connection_pool=True)


async def happened(redis: Redis, user_id: str, *, publish: bool = True) -> int:
    """Brings an event to Redis, and returns its offset. Without `publish` it only goes to the user's stream."""
    event = decode_order_status(msgspec.json.encode(status_event(user_id)))
    [[_, place]] = await scripts.run(redis, [EncodedEvent(event).append_command(publish=publish)])
    return int(place.split()[1])


async def attends(redis: Redis, *sockets: Socket) -> bool:
    """Whether these sockets of one user, and no others, are what Redis counts of that user."""
    counted = await redis.zrange(sockets_key(sockets[0].user_id), 0, -1)
    return set(counted) == {socket.id.encode() for socket in sockets}


async def heard_again(hub: Hub, redis: Redis) -> None:
    """Loses the subscription, and returns when the hub has another and has read what it missed."""
    sessions = hub.subscriber.sessions
    await redis.client_kill_filter(_type="pubsub")

    async def it_hears() -> None:
        assert hub.subscriber.sessions > sessions
        await hub.subscriber.check()

    await succeeds(it_hears)


class Between:
    """Stands in the place of `scripts.run`: `before` and `after` may wait while Redis is asked."""

    def __init__(self) -> None:
        self._run = scripts.run

    async def before(self, commands: Sequence[Command]) -> None: ...

    async def after(self, commands: Sequence[Command]) -> None: ...

    async def __call__(self, redis: Redis, commands: Sequence[Command]) -> list[Any]:
        await self.before(commands)
        replies = await self._run(redis, commands)
        await self.after(commands)
        return replies


def opens(commands: Sequence[Command]) -> bool:
    return any("opened" in command for command in commands)


async def patience(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
