"""Hop 9: order.finished and order.cancelled -> Redis; acknowledged to RabbitMQ after Redis has said yes."""

from collections.abc import Sequence
from secrets import token_hex

from msgspec.json import encode as encode_json
from prometheus_client import Counter
from redis.asyncio import Redis

from notifier import scripts
from notifier.messages import FRAME_START, OrderStatusEvent, frame_rest, times
from notifier.scripts import FAN_OUT, Command
from notifier.streams import channel, connect_anew, event_key, meta_key, stream_key
from shopkit.messaging import event_log
from shopkit.observability.metrics import DUPLICATES

PUBLISHED = Counter("gozon_notifications_published", "Status changes appended and published in Redis")
WAIT_MS = 1_000
# WAIT asks for what its own connection wrote last, and a batch of repetitions alone writes nothing.
WRITE: Command = ("PUBLISH", "written", b"")


class NotReplicated(ConnectionError):
    """Too few replicas of Redis have what was written: a failover might lose it."""


class EncodedEvent:
    """An event, encoded once for the two commands that bring it to Redis."""

    __slots__ = ("_event", "_rest", "_times")

    def __init__(self, event: OrderStatusEvent) -> None:
        self._event = event
        self._rest = frame_rest(event)
        self._times = times(event)

    def append(self, *, publish: bool) -> Command:
        user_id = self._event.data.user_id
        return FAN_OUT(
            [meta_key(user_id), stream_key(user_id), event_key(user_id, self._event.id)],
            *(token_hex(8), FRAME_START, self._rest, channel(user_id), self._times, "now" if publish else ""),
        )

    def publish(self, place: bytes) -> Command:
        """What `fan_out.lua` publishes for an event that has this place, whenever it got it."""
        offset = place.rpartition(b" ")[2]
        frame = b"%b%b,%b" % (FRAME_START, offset, self._rest)
        return "PUBLISH", channel(self._event.data.user_id), b" ".join((place, self._times, frame))


class FanOut:
    """Replicas compete for events; the one that takes an event need not hold a socket of its user.

    `copies`: so many replicas of Redis must have an event before it is published and acknowledged.
    Otherwise a primary that has been replaced, and does not know, would show what its successor shows again.
    """

    def __init__(self, redis: Redis, copies: int = 0) -> None:
        self._redis = redis
        self._copies = copies

    async def __call__(self, events: Sequence[OrderStatusEvent]) -> None:
        """Appends each event once, whatever is repeated, and publishes it; returns when Redis has them."""
        messages = [EncodedEvent(event) for event in events]
        await (self._copied(messages) if self._copies else self._at_once(messages))
        event_log.each("notified", map(encode_json, events))

    async def _at_once(self, messages: Sequence[EncodedEvent]) -> None:
        _count(await scripts.run(self._redis, [message.append(publish=True) for message in messages]))

    async def _copied(self, messages: Sequence[EncodedEvent]) -> None:
        """Publishes repeated events as well: the first time may have ended before that. Sockets know the offset."""
        places = await self._append(messages)
        publishing = [
            message.publish(place)
            for message, place in zip(messages, places, strict=True)
            if b" " in place  # a mark of release 0.1 has no place, and was published with it
        ]
        await scripts.run(self._redis, publishing)

    async def _append(self, messages: Sequence[EncodedEvent]) -> list[bytes]:
        """Their places, which enough replicas have."""
        appends = [message.append(publish=False) for message in messages]
        wait: Command = ("WAIT", self._copies, WAIT_MS)
        *replies, _, copies = await scripts.run(self._redis, [*appends, WRITE, wait])
        _count(replies)
        if copies < self._copies:
            await connect_anew(self._redis)
            raise NotReplicated(f"{copies} replicas of Redis have it, and {self._copies} have to")
        return [place for _, place in replies]


def _count(replies: Sequence[tuple[int, bytes]]) -> None:
    """What Redis has for the first time, and what it was given again."""
    new = sum(new for new, _ in replies)
    PUBLISHED.inc(new)
    DUPLICATES.labels("notifications").inc(len(replies) - new)
