"""When to try again, and how long to wait before it."""

import asyncio
import random
from contextlib import suppress

import asyncpg

# SQLSTATE classes that say nothing against the statement: connection lost, read-only after a failover, who
# may connect, no such database, serialisation failure or deadlock, out of resources, operator intervention
# (shutdown, terminated backend, starting up), trouble of the operating system.
_TRANSIENT_CLASSES = frozenset({"08", "25", "28", "3D", "40", "53", "57", "58"})
# Those that do speak against what was to be written: wrong data, broken constraint.
_CONTENT_CLASSES = frozenset({"22", "23"})
# `lock_timeout`: a replica that is frozen in its transaction holds the row.
_LOCK_NOT_AVAILABLE = "55P03"


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed later, so that nothing speaks against its content."""
    # The second is what asyncpg says of a connection whose server has said that it ends, and not yet hung up.
    if isinstance(error, OSError | asyncpg.InternalClientError) or _is_of_redis(error):
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)  # of the driver: closed; or no such value
    state = _state(error)
    return state[:2] in _TRANSIENT_CLASSES or state == _LOCK_NOT_AVAILABLE


def blames_content(error: BaseException) -> bool:
    """Whether the error may be the fault of what was handled, so that looking for the culprit makes sense."""
    if is_transient(error):
        return False
    state = _state(error)
    return not state or state[:2] in _CONTENT_CLASSES


def _is_of_redis(error: BaseException) -> bool:
    """Redis is given nothing that it could refuse for what it says: whatever it answers is about itself.

    Told by its module: its library takes long to import, with half of OpenTelemetry, and one service uses it.
    """
    return any(kind.__module__ == "redis.exceptions" for kind in type(error).__mro__)


def _state(error: BaseException) -> str:
    """The SQLSTATE; empty for what PostgreSQL has not said."""
    return getattr(error, "sqlstate", None) or ""


class Backoff:
    """Full jitter: each wait is uniform between nothing and a ceiling that doubles, so replicas spread out."""

    def __init__(self, first: float = 0.2, most: float = 10.0) -> None:
        self._first = first
        self._most = most
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        ceiling = min(self._most, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return random.uniform(0, ceiling)  # noqa: S311 (spreads load, guards nothing)


async def pause(until: asyncio.Event, seconds: float) -> None:
    """Sleeps, but not longer than until `until` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()


async def first_of(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Returns when one of `events` is set, or after `seconds`."""
    waiting = {asyncio.create_task(event.wait()) for event in events}
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
