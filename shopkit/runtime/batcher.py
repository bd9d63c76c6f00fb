"""Coalescing: what arrives while one write is under way becomes the next write.

There is no timer. An idle shop writes each item at once; under load the batch grows by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from shopkit.observability.metrics import BATCH_SIZE
from shopkit.runtime.retry import Cause, cause_of

Item = TypeVar("Item")
Result = TypeVar("Result")


class WrongResults(Exception):
    """A flush did not return one result per item. Its items may have been written."""


class Batcher(Generic[Item, Result]):
    """`flush` takes items and returns one result an item, in order, or raises having changed nothing.

    A result that is an exception is raised to its submitter alone. When `flush` raises, each item is tried
    by itself, so that a bad one fails alone; when no item can be at fault (the database is away), all of them
    fail with that error instead. When it returns another number of results, every submitter of that flush gets
    WrongResults, and nothing is tried again.
    """

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        limit: int = 200,
    ) -> None:
        self._flush = flush
        self._limit = limit
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._sizes = BATCH_SIZE.labels(name)

    async def submit(self, item: Item) -> Result:
        """Returns after the transaction that holds `item` has committed."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flusher is None:
            # In a context of its own: what it logs is not of the request that happened to come first.
            self._flusher = asyncio.create_task(self._flush_waiting(), context=Context())
        return await future

    async def _flush_waiting(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                taken = [entry for entry in taken if not entry[1].cancelled()]
                if taken:
                    await self._write(taken)
        finally:
            self._flusher = None

    async def _write(self, taken: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        self._sizes.observe(len(taken))
        try:
            results = await self._flush([item for item, _ in taken])
        except Exception as error:  # noqa: BLE001 (raised to the submitters)
            if len(taken) == 1 or cause_of(error) is not Cause.CONTENT:
                results = [error] * len(taken)
            else:
                for entry in taken:
                    await self._write([entry])
                return
        if len(results) != len(taken):
            # No item's own result is known. The items may be written, so none of them is flushed again.
            results = [WrongResults(f"{len(results)} results for {len(taken)} items")] * len(taken)
        for (_, future), result in zip(taken, results, strict=True):
            _settle(future, result)


def _settle(future: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if future.done():  # the submitter was cancelled; what it asked for stands
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
