"""Hop 9: order.finished and order.cancelled -> Redis; acknowledged to RabbitMQ after Redis has said yes."""

from collections.abc import Sequence
from secrets import token_hex
from typing import Any

from msgspec.json import encode as encode_json
from prometheus_client import Counter
from redis.asyncio import Redis

from notifier import scripts
from notifier.messages import FRAME_START, OrderStatusEvent, frame_rest, times
from notifier.scripts import FAN_OUT, Command
from notifier.streams import channel, event_key, meta_key, stream_key
from shopkit import event_log
from shopkit.telemetry import DUPLICATES

PUBLISHED = Counter("gozon_notifications_published", "Status changes appended and published in Redis")
WAIT_MS = 1_000
# WAIT asks for what its own connection wrote last, and a batch of repetitions alone writes nothing.
WRITE: Command = ("PUBLISH", "written", b"")


class NotReplicated(ConnectionError):
    """Too few replicas of Redis have what was written: a failover might lose it."""


class FanOut:
    """Replicas compete for events; the one that takes an event need not hold a socket of its user.

    `copies`: so many replicas of Redis must have an event before it is acknowledged.
    """

    def __init__(self, redis: Redis, copies: int = 0) -> None:
        self._redis = redis
        self._copies = copies

    async def __call__(self, events: Sequence[OrderStatusEvent]) -> None:
        """Appends and publishes each event once, whatever is repeated; returns when Redis has taken them all."""
        new = sum(await self._run([fanning_out(event) for event in events]))
        event_log.each("notified", map(encode_json, events))
        PUBLISHED.inc(new)
        DUPLICATES.labels("notifications").inc(len(events) - new)

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        if not self._copies:
            return await scripts.run(self._redis, commands)
        wait: Command = ("WAIT", self._copies, WAIT_MS)
        *replies, _, copies = await scripts.run(self._redis, [*commands, WRITE, wait])
        if copies < self._copies:
            raise NotReplicated(f"{copies} replicas of Redis have it, and {self._copies} have to")
        return replies


def fanning_out(event: OrderStatusEvent) -> Command:
    user_id = event.data.user_id
    return FAN_OUT(
        [meta_key(user_id), stream_key(user_id), event_key(user_id, event.id)],
        *(token_hex(8), FRAME_START, frame_rest(event), channel(user_id), times(event)),
    )
