"""A hub that runs inside the test, on a real Redis, with sockets that record the frames written to them."""

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


class RecordingWire:
    """Takes the place of a WebSocketProtocol. It accepts every frame, and records frames and close codes."""

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
        """Returns the offsets of all order frames, including the missed frames of welcomes."""
        orders = (frame["missed"] if frame["type"] == "welcome" else [frame] for frame in self.frames)
        return [order["o"] for frames in orders for order in frames]


def new_socket(user_id: str) -> tuple[Socket, RecordingWire]:
    wire = RecordingWire()
    return Socket(user_id, cast("WebSocketProtocol", wire)), wire


@asynccontextmanager
async def running_hub(url: str) -> AsyncGenerator[Hub]:
    redis, probing = connect(url), connect(url)
    hub = Hub(redis, probing, "a-replica", sockets_per_user=10)
    try:
        async with running(hub.presence, hub.subscriber):
            await succeeds(hub.subscriber.check)
            yield hub
    finally:
        for connections in (redis, probing):
            await connections.aclose(close_connection_pool=True)


async def append_event(redis: Redis, user_id: str, *, publish: bool = True) -> int:
    """Appends an event to the user's stream and returns its offset. Without `publish`, it is not published."""
    event = decode_order_status(msgspec.json.encode(status_event(user_id)))
    [[_, offsets]] = await scripts.run(redis, [EncodedEvent(event).append_command(publish=publish)])
    return int(offsets.split()[1])


async def registered_sockets_are(redis: Redis, *sockets: Socket) -> bool:
    """Returns whether Redis has exactly these sockets registered for their user."""
    counted = await redis.zrange(sockets_key(sockets[0].user_id), 0, -1)
    return set(counted) == {socket.id.encode() for socket in sockets}


async def lose_subscription(hub: Hub, redis: Redis) -> None:
    """Kills the subscription, and returns when the hub is subscribed again and all sockets have caught up."""
    sessions = hub.subscriber.sessions
    await redis.client_kill_filter(_type="pubsub")

    async def is_subscribed_again() -> None:
        assert hub.subscriber.sessions > sessions
        await hub.subscriber.check()

    await succeeds(is_subscribed_again)


class InterceptedRun:
    """Replaces `scripts.run`. A subclass can wait in `before` or `after` the round trip to Redis."""

    def __init__(self) -> None:
        self._run = scripts.run

    async def before(self, commands: Sequence[Command]) -> None: ...

    async def after(self, commands: Sequence[Command]) -> None: ...

    async def __call__(self, redis: Redis, commands: Sequence[Command]) -> list[Any]:
        await self.before(commands)
        replies = await self._run(redis, commands)
        await self.after(commands)
        return replies


def registers_a_socket(commands: Sequence[Command]) -> bool:
    return any("opened" in command for command in commands)


async def came_in_time(event: asyncio.Event, seconds: float) -> bool:
    """Returns whether the event was set within the time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
