"""What the sockets tell Redis behind the backs of their clients: who is still here, who left, what was seen.

It is written in batches that form while one is under way. Of each socket and user only the newest counts. No
socket opens while Redis is unavailable, so what waits does not outgrow the sockets that were open then.
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

# Longer than a ping, the time for its answer and a short absence of Redis together.
LEASE_SECONDS = 120
PRESENCE_BATCH_SIZE = 500

log = structlog.get_logger()

Key = TypeVar("Key")
Value = TypeVar("Value")


class Presence:
    """`replaced` is called with user and socket when newer sockets took the place of one."""

    def __init__(self, redis: Redis, sockets_per_user: int, replaced: Callable[[str, str], None]) -> None:
        self._redis = redis
        self._allowed = sockets_per_user
        self._replaced = replaced
        self._told: dict[str, tuple[str, str]] = {}
        self._acked: dict[str, Position] = {}
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()

    def opening(self, user_id: str, socket_id: str) -> Command:
        """Goes with what a socket reads first."""
        return self._attend(user_id, socket_id, "opened")

    def heard(self, user_id: str, socket_id: str) -> None:
        self._told[socket_id] = user_id, "heard"
        self._changed.set()

    def left(self, user_id: str, socket_id: str) -> None:
        self._told[socket_id] = user_id, "left"
        self._changed.set()

    def acked(self, user_id: str, position: Position) -> None:
        known = self._acked.get(user_id)
        if known is None or known.epoch != position.epoch or known.offset < position.offset:
            self._acked[user_id] = position
            self._changed.set()

    async def run(self) -> None:
        """Until it is told to stop and has written what it knew by then, if Redis takes it."""
        backoff = Backoff()
        while not self._stopping.is_set() or self._changed.is_set():
            await self._changed.wait()
            told, acked = _some(self._told), _some(self._acked)
            try:
                await self._write(told, acked)
            except (RedisError, TimeoutError) as error:
                log.warning("presence must wait", error=repr(error))
                self._told = told | self._told
                for user_id, position in acked.items():
                    self.acked(user_id, position)
                if self._stopping.is_set():
                    return
                await pause(self._stopping, backoff.next())
            else:
                backoff.reset()
            if not self._told and not self._acked:
                self._changed.clear()

    def stop(self) -> None:
        self._stopping.set()
        self._changed.set()

    async def _write(self, told: dict[str, tuple[str, str]], acked: dict[str, Position]) -> None:
        attending = [self._attend(user_id, socket_id, what) for socket_id, (user_id, what) in told.items()]
        acking = [ACK([meta_key(user_id)], position.epoch, position.offset) for user_id, position in acked.items()]
        replies: list[Any] = await scripts.run(self._redis, attending + acking)
        for (socket_id, (user_id, _)), stays in zip(told.items(), replies, strict=False):
            if not stays:
                self._replaced(user_id, socket_id)

    def _attend(self, user_id: str, socket_id: str, what: str) -> Command:
        keys = [sockets_key(user_id), meta_key(user_id)]
        return PRESENCE(keys, what, socket_id, self._allowed, channel(user_id), LEASE_SECONDS)


def _some(of: dict[Key, Value]) -> dict[Key, Value]:
    """Takes the oldest MOST out."""
    taken = dict(islice(of.items(), PRESENCE_BATCH_SIZE))
    for key in taken:
        del of[key]
    return taken
