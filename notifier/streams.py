"""What Redis keeps of each user: an epoch, the last offset, and the last hundred messages for a day.

`{uid}` is a hash tag: in a Redis Cluster all keys of a user lie on one node.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID, uuid4

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

KEEP_SECONDS = 86_400
NEWEST = 2**63 - 1
"""An offset after which nothing is kept."""


class Entry(msgspec.Struct, frozen=True):
    """A kept message; `previous` is the offset before it, so that a gap shows."""

    offset: int
    previous: int
    frame: bytes


class Position(msgspec.Struct, frozen=True):
    """Where a user's stream stands: offsets of one `epoch` can be compared, those of two cannot."""

    epoch: str
    offset: int


def channel(user_id: str) -> bytes:
    return f"n:{{{user_id}}}".encode()


def meta_key(user_id: str) -> str:
    return f"n:{{{user_id}}}:m"


def stream_key(user_id: str) -> str:
    return f"n:{{{user_id}}}:s"


def event_key(user_id: str, event_id: UUID) -> str:
    """Marks an event as published, so that a repeated one is not published twice."""
    return f"n:{{{user_id}}}:d:{event_id}"


def connect(url: str) -> Redis:
    """Retries off: whoever calls must see each failure. A burst waits for a connection instead of being refused."""
    pool = BlockingConnectionPool.from_url(
        url,
        protocol=2,
        socket_timeout=5,
        socket_connect_timeout=5,
        retry=Retry(NoBackoff(), 0),
        max_connections=50,
        timeout=5,
    )
    return Redis(connection_pool=pool)


class Streams:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self, user_id: str, after: int) -> tuple[Position, list[Entry]]:
        """The user's position and what is kept after offset `after`."""
        [read] = await self.read_many([(user_id, after)])
        return read

    async def read_many(self, users: Iterable[tuple[str, int]]) -> list[tuple[Position, list[Entry]]]:
        """As `read`, for many users in one round trip."""
        users = list(users)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for user_id, after in users:
                pipeline.hsetnx(meta_key(user_id), "epoch", uuid4().hex)
                pipeline.expire(meta_key(user_id), KEEP_SECONDS)
                pipeline.hmget(meta_key(user_id), "epoch", "offset")
                pipeline.execute_command("XRANGE", stream_key(user_id), f"({after}-0", "+")
            replies = await pipeline.execute()
        return [_read(*replies[at + 2 : at + 4]) for at in range(0, len(replies), 4)]


def _read(
    meta: list[bytes | None], entries: list[tuple[bytes, dict[bytes, bytes]]]
) -> tuple[Position, list[Entry]]:
    epoch, offset = meta
    position = Position((epoch or b"").decode(), int(offset or 0))
    kept = [
        Entry(int(entry_id.partition(b"-")[0]), int(fields[b"previous"]), fields[b"frame"])
        for entry_id, fields in entries
    ]
    return position, kept


def missed(since: Position | None, now: Position, kept: Sequence[Entry]) -> tuple[bool, list[Entry]]:
    """Whether everything after `since` is still there, and what it is. `kept` are the entries after its offset."""
    if since is None:
        return True, []
    if since.epoch != now.epoch:
        return False, []
    if not kept:
        return now.offset <= since.offset, []
    return kept[0].previous <= since.offset, list(kept)
