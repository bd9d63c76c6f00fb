"""Hop 9: writes order.finished and order.cancelled to Redis, and acknowledges them to RabbitMQ after that."""

from collections.abc import Sequence
from secrets import token_hex

from msgspec.json import encode as encode_json
from prometheus_client import Counter
from redis.asyncio import Redis

from notifier import scripts
from notifier.messages import FRAME_START, OrderStatusEvent, frame_rest, times
from notifier.scripts import FAN_OUT, Command
from notifier.streams import channel, event_key, meta_key, reconnect, stream_key
from shopkit.messaging import event_log
from shopkit.observability.metrics import DUPLICATES

PUBLISHED = Counter("gozon_notifications_published", "Status changes appended and published in Redis")
REPLICATION_TIMEOUT_MS = 1_000
# WAIT counts the replicas that have the last write of its own connection. A batch that holds only repeated
# events writes nothing, so this command makes sure that there is a write to wait for.
FORCE_WRITE: Command = ("PUBLISH", "written", b"")


class NotReplicated(ConnectionError):
    """Too few replicas of Redis confirmed a write, so a failover might lose it."""


class EncodedEvent:
    """An event and its frame, encoded once for both commands that carry it to Redis."""

    __slots__ = ("_event", "_rest", "_times")

    def __init__(self, event: OrderStatusEvent) -> None:
        self._event = event
        self._rest = frame_rest(event)
        self._times = times(event)

    def append_command(self, *, publish: bool) -> Command:
        """Returns the call of `fan_out.lua`, which appends the event and, with `publish`, also publishes it."""
        user_id = self._event.data.user_id
        return FAN_OUT(
            [meta_key(user_id), stream_key(user_id), event_key(user_id, self._event.id)],
            *(token_hex(8), FRAME_START, self._rest, channel(user_id), self._times, "now" if publish else ""),
        )

    def publish_command(self, offsets: bytes) -> Command:
        """Returns the PUBLISH that `fan_out.lua` sends as well. `offsets` is its reply: `b"<previous> <own>"`."""
        offset = offsets.rpartition(b" ")[2]
        frame = b"%b%b,%b" % (FRAME_START, offset, self._rest)
        return "PUBLISH", channel(self._event.data.user_id), b" ".join((offsets, self._times, frame))


class FanOut:
    """Handles batches of events from RabbitMQ. Any notifier replica takes an event, whichever holds the sockets.

    `copies` is the number of Redis replicas that must have an event before it is published and acknowledged.
    If too few have it, the event is retried, possibly on another primary that never received it and gives it
    another offset. A client would then see it twice if the first primary had published it before the wait.
    """

    def __init__(self, redis: Redis, copies: int = 0) -> None:
        self._redis = redis
        self._copies = copies

    async def publish(self, events: Sequence[OrderStatusEvent]) -> None:
        """Appends each event to its user's stream and publishes it. A repeated event is not appended again.

        Raises RedisError, TimeoutError or NotReplicated, and the consumer then retries the batch.
        """
        messages = [EncodedEvent(event) for event in events]
        await (self._append_replicate_publish(messages) if self._copies else self._append_and_publish(messages))
        event_log.each("notified", map(encode_json, events))

    async def _append_and_publish(self, messages: Sequence[EncodedEvent]) -> None:
        _count(await scripts.run(self._redis, [message.append_command(publish=True) for message in messages]))

    async def _append_replicate_publish(self, messages: Sequence[EncodedEvent]) -> None:
        """Appends, waits for replicas, then publishes.

        A repeated event is published again, because the first attempt may have failed before publishing. A socket
        that already has the event recognises its offset and skips it.
        """
        offsets = await self._append(messages)
        publishing = [
            message.publish_command(each)
            for message, each in zip(messages, offsets, strict=True)
            if b" " in each  # a mark that release 0.1 left has no offsets, and its event was published then
        ]
        await scripts.run(self._redis, publishing)

    async def _append(self, messages: Sequence[EncodedEvent]) -> list[bytes]:
        """Returns the offsets of each event, `b"<previous> <own>"`, when enough replicas have the events.

        Raises NotReplicated otherwise.
        """
        appends = [message.append_command(publish=False) for message in messages]
        wait: Command = ("WAIT", self._copies, REPLICATION_TIMEOUT_MS)
        *replies, _, copies = await scripts.run(self._redis, [*appends, FORCE_WRITE, wait])
        _count(replies)
        if copies < self._copies:
            await reconnect(self._redis)
            raise NotReplicated(f"{copies} of the required {self._copies} Redis replicas confirmed the write")
        return [offsets for _, offsets in replies]


def _count(replies: Sequence[tuple[int, bytes]]) -> None:
    new = sum(is_new for is_new, _ in replies)
    PUBLISHED.inc(new)
    DUPLICATES.labels("notifications").inc(len(replies) - new)
