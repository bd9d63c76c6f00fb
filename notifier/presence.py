"""Presence: reports to Redis which sockets are open, and which offset each user has acknowledged.

Reports are written in batches. While one batch is being written, the next one collects. Only the newest report of
each socket and the highest acknowledgement of each user are kept. No socket opens while Redis is unavailable, so
the reports that wait are bounded by the sockets that were open before.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifier import scripts
from notifier.scripts import ACK, PRESENCE, Command
from notifier.streams import Position, channel, meta_key, sockets_key
from shopkit.runtime.retry import Backoff, pause

# Longer than the ping interval, the time for a pong and a short outage of Redis together.
LEASE_SECONDS = 120
PRESENCE_BATCH_SIZE = 500

log = structlog.get_logger()

Key = TypeVar("Key")
Value = TypeVar("Value")


class Presence:
    """Worker that writes presence and acknowledgements to Redis.

    `on_evicted(user_id, socket_id)` is called when Redis reports that newer sockets have evicted this one.
    """

    def __init__(self, redis: Redis, sockets_per_user: int, on_evicted: Callable[[str, str], None]) -> None:
        self._redis = redis
        self._allowed = sockets_per_user
        self._on_evicted = on_evicted
        # By socket id: user id, and "heard" or "left".
        self._updates: dict[str, tuple[str, str]] = {}
        self._acked: dict[str, Position] = {}
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()

    def opened_command(self, user_id: str, socket_id: str) -> Command:
        """Returns the command that registers a new socket. The hub sends it together with the first read."""
        return self._command(user_id, socket_id, "opened")

    def heard(self, user_id: str, socket_id: str) -> None:
        self._updates[socket_id] = user_id, "heard"
        self._changed.set()

    def left(self, user_id: str, socket_id: str) -> None:
        self._updates[socket_id] = user_id, "left"
        self._changed.set()

    def acked(self, user_id: str, position: Position) -> None:
        known = self._acked.get(user_id)
        if known is None or known.epoch != position.epoch or known.offset < position.offset:
            self._acked[user_id] = position
            self._changed.set()

    async def run(self) -> None:
        """Writes batches until `stop`, and then the remaining reports, unless Redis is unavailable."""
        backoff = Backoff()
        while not self._stopping.is_set() or self._changed.is_set():
            await self._changed.wait()
            updates, acked = _take_batch(self._updates), _take_batch(self._acked)
            try:
                await self._write(updates, acked)
            except (RedisError, TimeoutError) as error:
                log.warning("retrying the presence write after a Redis error", error=repr(error))
                self._updates = updates | self._updates
                for user_id, position in acked.items():
                    self.acked(user_id, position)
                if self._stopping.is_set():
                    return
                await pause(self._stopping, backoff.next())
            else:
                backoff.reset()
            if not self._updates and not self._acked:
                self._changed.clear()

    def stop(self) -> None:
        self._stopping.set()
        self._changed.set()

    async def _write(self, updates: dict[str, tuple[str, str]], acked: dict[str, Position]) -> None:
        presence = [self._command(user_id, socket_id, what) for socket_id, (user_id, what) in updates.items()]
        acks = [ACK([meta_key(user_id)], position.epoch, position.offset) for user_id, position in acked.items()]
        replies: list[Any] = await scripts.run(self._redis, presence + acks)
        # `zip` ends with the presence commands; the replies to the acknowledgements say nothing.
        for (socket_id, (user_id, _)), stays in zip(updates.items(), replies, strict=False):
            if not stays:
                self._on_evicted(user_id, socket_id)

    def _command(self, user_id: str, socket_id: str, what: str) -> Command:
        keys = [sockets_key(user_id), meta_key(user_id)]
        return PRESENCE(keys, what, socket_id, self._allowed, channel(user_id), LEASE_SECONDS)


def _take_batch(of: dict[Key, Value]) -> dict[Key, Value]:
    """Removes and returns the oldest PRESENCE_BATCH_SIZE entries of the dict."""
    taken = dict(islice(of.items(), PRESENCE_BATCH_SIZE))
    for key in taken:
        del of[key]
    return taken
