"""The stream of a user in Redis: its keys, and how it is read.

Redis keeps for each user:

- a meta hash with the epoch, the offset of the last message (`offset`), and the highest acknowledged offset
  (`acked`);
- a stream with about the last hundred messages;
- a sorted set of the user's open sockets;
- a mark for each event that was published, so that a repeated event gets no second offset.

Offsets grow with each message of a user. An epoch is a random name for one life of the meta hash. If Redis loses
its data, the next read or message creates a new epoch. Offsets of different epochs cannot be compared. Meta hash
and stream expire after a day without use, the marks after an hour.

The user id in braces is a hash tag: in a Redis Cluster all keys of a user are on one node.
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
    """A message in a user's stream. `previous` is the offset of the message before it, and shows gaps."""

    offset: int
    previous: int
    frame: bytes


class Position(msgspec.Struct, frozen=True):
    """A point in a user's stream. Positions can be compared only if their epochs are equal."""

    epoch: str
    offset: int


class Read(msgspec.Struct, frozen=True):
    """The result of reading a user's stream after the offset `after`.

    `now` is the end of the stream, and `kept` holds the messages after `after` that the stream still has.
    """

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
    """Returns the key that marks an event as published, so that a repeated event gets no second offset."""
    return f"n:{{{user_id}}}:d:{event_id}"


def connect(url: str) -> Redis:
    """Returns a client for a server URL, or for a `redis+sentinel:` URL.

    - Retries are off, so that callers see each failure.
    - If all connections are busy, a caller waits for one up to 5 s.
    - Replies have no timeout, because redis-py would start a timer for each reply. Callers set one timeout for a
      whole round trip, as `scripts.run` does.
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
        return Redis(connection_pool=BlockingConnectionPool(**options, **sentinel.sentinel_options(url)))
    return Redis(connection_pool=BlockingConnectionPool.from_url(url, **options))


async def reconnect(redis: Redis) -> None:
    """Makes every connection of the pool reconnect, and so look up the primary, before it is used again.

    A connection may lead to a primary that was replaced and has not noticed.
    """
    pool = redis.connection_pool
    await pool.update_active_connections_for_reconnect()
    await pool.disconnect(inuse_connections=False)


def read_command(user_id: str, after: int | None) -> Command:
    """Returns the command that reads a user's stream after an offset.

    If `after` is None, the script reads after the highest acknowledged offset. A user without any acknowledgement,
    as on a first visit, reads from the end of the stream.
    """
    start = "" if after is None else str(after)
    return READ([meta_key(user_id), stream_key(user_id)], token_hex(8), start)


def parse_read(reply: tuple[bytes, bytes, bytes, list[tuple[bytes, list[bytes]]]]) -> Read:
    epoch, offset, after, entries = reply
    kept = [
        StreamEntry(int(entry_id.partition(b"-")[0]), int(previous), frame)
        for entry_id, (_, previous, _, frame) in entries
    ]
    return Read(Position(epoch.decode(), int(offset)), int(after), kept)


async def read_many(redis: Redis, users: Iterable[tuple[str, int]]) -> list[Read]:
    """Reads the stream of each user after the given offset, in one round trip."""
    replies: list[Any] = await scripts.run(redis, [read_command(user_id, after) for user_id, after in users])
    return [parse_read(reply) for reply in replies]


def recovered(since: Position | None, read: Read) -> bool:
    """Returns whether `read` holds every message after `since`, so that its reader has missed none.

    Without `since`, messages count from the offset `read.after`. Messages are missing if the epoch has changed, or
    if the first kept message has a predecessor above `read.after`.
    """
    if since is not None and since.epoch != read.now.epoch:
        return False
    if not read.kept:
        return read.now.offset <= read.after
    return read.kept[0].previous <= read.after
