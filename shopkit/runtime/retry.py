"""Retrying: the cause of an error, the wait before the next attempt, and the size of its batch."""

import asyncio
import random
import time
from collections.abc import Generator, Sized
from contextlib import contextmanager, suppress
from enum import Enum, auto

import asyncpg

# SQLSTATE classes under which the same statement can succeed later: connection lost, read-only after a failover,
# login refused, no such database, serialisation failure or deadlock, out of resources, operator intervention
# (shutdown, terminated backend, starting up), error of the operating system.
_TRANSIENT_CLASSES = frozenset({"08", "25", "28", "3D", "40", "53", "57", "58"})
# SQLSTATE classes that blame the data of the statement: invalid data, violated constraint.
_CONTENT_CLASSES = frozenset({"22", "23"})
# `lock_timeout`: for example, a replica that froze in its transaction holds the row.
_LOCK_NOT_AVAILABLE = "55P03"
# `statement_timeout`, or a cancelled statement.
_QUERY_CANCELED = "57014"
# Errors of the operating system about files, processes and memory. Every other OSError can come from a connection.
_LOCAL_ERRORS = (
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
    """The cause of an error. It determines what a worker does next."""

    TRANSIENT = auto()
    """A server or the network. The worker retries the same work, with backoff."""
    CONTENT = auto()
    """Possibly the content of the batch. The worker isolates the item at fault, if it can."""
    DEFECT = auto()
    """The program, the schema or a privilege. The worker raises, which ends its process."""


def cause_of(error: BaseException) -> Cause:
    """Returns the cause of `error`. Any other exception of a handler, such as ValueError, counts as CONTENT."""
    if isinstance(error, _LOCAL_ERRORS):
        return Cause.DEFECT
    # asyncpg raises InternalClientError on a connection whose server has announced its end but not closed it yet.
    if isinstance(error, OSError | asyncpg.InternalClientError) or _is_of_redis(error):
        return Cause.TRANSIENT
    # InterfaceError comes from asyncpg itself. It is a ValueError if an argument cannot be encoded; otherwise the
    # connection is closed.
    if isinstance(error, asyncpg.InterfaceError):
        return Cause.CONTENT if isinstance(error, ValueError) else Cause.TRANSIENT
    state = _state(error)
    if state[:2] in _TRANSIENT_CLASSES or state == _LOCK_NOT_AVAILABLE:
        return Cause.TRANSIENT
    return Cause.DEFECT if state and state[:2] not in _CONTENT_CLASSES else Cause.CONTENT


def is_transient(error: BaseException) -> bool:
    """Returns whether the same work can succeed later without any change."""
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
    """Returns whether Redis raised the error. Its errors count as transient: no content of ours can cause one.

    The check compares module names, because importing the library is slow and only one service uses it.
    """
    return any(kind.__module__ == "redis.exceptions" for kind in type(error).__mro__)


def _state(error: BaseException) -> str:
    """Returns the SQLSTATE of an error, empty if the error does not come from PostgreSQL."""
    return getattr(error, "sqlstate", None) or ""


class Backoff:
    """Exponential backoff with full jitter, so that replicas do not retry simultaneously.

    Each wait is random between 0 and a ceiling in seconds. The ceiling starts at `first` and doubles up to `most`.
    """

    def __init__(self, first: float = 0.2, most: float = 10.0) -> None:
        self._first = first
        self._most = most
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next(self) -> float:
        """Returns the seconds to wait after one more failure."""
        ceiling = min(self._most, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return random.uniform(0, ceiling)  # noqa: S311 (spreads load, is no secret)


class BatchSize:
    """The limit on the items in one batch of a worker, adapted to timeouts.

    A batch that times out halves the limit. Each full batch that succeeds raises it by an eighth, up to `largest`.
    A worker that can only handle half of `largest` in time therefore loses about one batch in seven to a timeout.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self.limit = largest

    @contextmanager
    def observing(self, batch: Sized) -> Generator[None]:
        """Lowers or raises the limit when the block ends. The block can fill `batch`, which may start empty."""
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
    """Makes readiness fail if a worker has tried the same work for longer than STALLED_SECONDS."""

    def __init__(self) -> None:
        self._working_since: float | None = None

    def begin(self) -> None:
        """Must be called before each attempt. After a failed attempt, the next one continues the same work."""
        self._working_since = self._working_since or time.monotonic()

    def done(self) -> None:
        self._working_since = None

    def check(self) -> None:
        """Raises Stalled if the current work has taken too long."""
        seconds = time.monotonic() - (self._working_since or time.monotonic())
        if seconds > STALLED_SECONDS:
            raise Stalled(f"no progress for {seconds:.0f} s")


async def pause(until: asyncio.Event, seconds: float) -> None:
    """Sleeps for `seconds`, or until `until` is set."""
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
