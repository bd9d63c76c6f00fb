"""Retrying: whether an error allows it, how long to wait before it, and with which batch size."""

import asyncio
import random
import time
from collections.abc import Generator, Sized
from contextlib import contextmanager, suppress
from enum import Enum, auto

import asyncpg

# SQLSTATE classes that say nothing against the statement: connection lost, read-only after a failover, who
# may connect, no such database, serialisation failure or deadlock, out of resources, operator intervention
# (shutdown, terminated backend, starting up), trouble of the operating system.
_TRANSIENT_CLASSES = frozenset({"08", "25", "28", "3D", "40", "53", "57", "58"})
# Those that do speak against what was to be written: wrong data, broken constraint.
_CONTENT_CLASSES = frozenset({"22", "23"})
# `lock_timeout`: a replica that is frozen in its transaction holds the row.
_LOCK_NOT_AVAILABLE = "55P03"
# `statement_timeout`, or a cancelled statement.
_QUERY_CANCELED = "57014"
# Errors of the operating system about files, processes and memory. All others may come from a connection.
_NOT_OF_A_CONNECTION = (
    ChildProcessError,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    MemoryError,
    NotADirectoryError,
    PermissionError,
    ProcessLookupError,
)

STALLED_SECONDS = 60.0


class Cause(Enum):
    """The cause of an error. Every worker acts by it."""

    TRANSIENT = auto()
    """A server or the way to it. The worker tries the same again, with backoff."""
    CONTENT = auto()
    """Possibly the content of the batch. The worker looks for the culprit, where it can."""
    DEFECT = auto()
    """The program, the schema or a privilege. The worker raises, which ends its process."""


def cause_of(error: BaseException) -> Cause:
    """An exception without SQLSTATE, such as ValueError, comes from a handler and counts as its content's fault."""
    if isinstance(error, _NOT_OF_A_CONNECTION):
        return Cause.DEFECT
    # The second is what asyncpg says of a connection whose server has said that it ends, and not yet hung up.
    if isinstance(error, OSError | asyncpg.InternalClientError) or _is_of_redis(error):
        return Cause.TRANSIENT
    if isinstance(error, asyncpg.InterfaceError):  # of the driver: the connection is closed; or no such value
        return Cause.CONTENT if isinstance(error, ValueError) else Cause.TRANSIENT
    state = _state(error)
    if state[:2] in _TRANSIENT_CLASSES or state == _LOCK_NOT_AVAILABLE:
        return Cause.TRANSIENT
    return Cause.DEFECT if state and state[:2] not in _CONTENT_CLASSES else Cause.CONTENT


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed later, so that nothing speaks against its content."""
    return cause_of(error) is Cause.TRANSIENT


def timed_out(error: BaseException | None) -> bool:
    """Returns whether `error` or one of its causes is a timeout, so that a smaller batch may succeed."""
    if error is None:
        return False
    return (
        isinstance(error, TimeoutError)
        or _state(error) in {_QUERY_CANCELED, _LOCK_NOT_AVAILABLE}
        or timed_out(error.__cause__)
    )


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


class BatchSize:
    """The limit of the items in one batch of a worker.

    A batch that times out halves the limit. Each full batch that succeeds raises it by an eighth, up to `largest`.
    So a worker that can only do half of `largest` in time loses about one batch in seven to a timeout.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self.limit = largest

    @contextmanager
    def observing(self, batch: Sized) -> Generator[None]:
        """Adapts the limit to how the block ends. `batch` is empty until the block has taken its items."""
        try:
            yield
        except Exception as error:
            if timed_out(error):
                self.limit = max(1, min(self.limit, len(batch) or self.limit) // 2)
            raise
        if len(batch) >= self.limit:
            self.limit = min(self._largest, self.limit + 1 + self.limit // 8)


class Stalled(Exception):
    """A worker has tried the same work for longer than STALLED_SECONDS."""


class Progress:
    """Tells readiness when a worker has been at the same work for longer than STALLED_SECONDS."""

    def __init__(self) -> None:
        self._working_since: float | None = None

    def begin(self) -> None:
        """To be called before each attempt. Attempts that fail belong to the same work."""
        self._working_since = self._working_since or time.monotonic()

    def done(self) -> None:
        self._working_since = None

    def check(self) -> None:
        """Raises Stalled."""
        seconds = time.monotonic() - (self._working_since or time.monotonic())
        if seconds > STALLED_SECONDS:
            raise Stalled(f"no progress for {seconds:.0f} s")


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
