"""What Redis keeps of each user: an epoch, the last offset, and the last hundred messages for a day.

`{uid}` is a hash tag: in a Redis Cluster all keys of a user lie on one node.
"""

from collections.abc import Iterable, Sequence
from secrets import token_hex
from typing import Any
from uuid import UUID

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from notifier import scripts, sentinel
from notifier.scripts import READ, Command


class StreamEntry(msgspec.Struct, frozen=True):
    """A kept message; `previous` is the offset before it, so that a gap shows."""

    offset: int
    previous: int
    frame: bytes


class Position(msgspec.Struct, frozen=True):
    """Where a user's stream stands: offsets of one `epoch` can be compared, those of two cannot."""

    epoch: str
    offset: int


class Read(msgspec.Struct, frozen=True):
    """`kept` is all that the stream holds after the offset `after`; `now` is where it stands."""

    now: Position
    after: int
    kept: Sequence[StreamEntry]


def channel(user_id: str) -> bytes:
    return f"n:{{{user_id}}}".encode()


def meta_key(user_id: str) -> str:
    return f"n:{{{user_id}}}:m"


def stream_key(user_id: str) -> str:
    return f"n:{{{user_id}}}:s"


def sockets_key(user_id: str) -> str:
    return f"n:{{{user_id}}}:c"


def event_key(user_id: str, event_id: UUID) -> str:
    """Marks an event as published, so that a repeated one is not published twice."""
    return f"n:{{{user_id}}}:d:{event_id}"


def connect(url: str) -> Redis:
    """Retries off: whoever calls must see each failure. A burst waits for a connection instead of being refused.

    `url` is that of a server, or names sentinels. There is no time limit for a reply, as redis-py would start a
    timer for each. Whoever calls has one for all.
    """
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": None,
        "socket_connect_timeout": 5,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": 50,
        "timeout": 5,
    }
    if url.startswith(f"{sentinel.SCHEME}:"):
        return Redis(connection_pool=BlockingConnectionPool(**options, **sentinel.by_sentinel(url)))
    return Redis(connection_pool=BlockingConnectionPool.from_url(url, **options))


async def connect_anew(redis: Redis) -> None:
    """Every connection asks who the primary is before it is used again: the one it has may have been replaced,
    and not know."""
    pool = redis.connection_pool
    await pool.update_active_connections_for_reconnect()
    await pool.disconnect(inuse_connections=False)


def reading(user_id: str, after: int | None) -> Command:
    """Reads after an offset; without one, after what the user acknowledged last."""
    start = "" if after is None else str(after)
    return READ([meta_key(user_id), stream_key(user_id)], token_hex(8), start)


def what_was_read(reply: tuple[bytes, bytes, bytes, list[tuple[bytes, list[bytes]]]]) -> Read:
    epoch, offset, after, entries = reply
    kept = [
        StreamEntry(int(entry_id.partition(b"-")[0]), int(previous), frame)
        for entry_id, (_, previous, _, frame) in entries
    ]
    return Read(Position(epoch.decode(), int(offset)), int(after), kept)


async def read_many(redis: Redis, users: Iterable[tuple[str, int]]) -> list[Read]:
    """For each user and offset, in one round trip."""
    replies: list[Any] = await scripts.run(redis, [reading(user_id, after) for user_id, after in users])
    return [what_was_read(reply) for reply in replies]


def recovered(since: Position | None, read: Read) -> bool:
    """Whether what was kept is all that came after `since`, or after the last acknowledgement without one."""
    if since is not None and since.epoch != read.now.epoch:
        return False
    if not read.kept:
        return read.now.offset <= read.after
    return read.kept[0].previous <= read.after
