"""Batching: the items that arrive during one write are written together in the next one.

There is no timer. In an idle shop each item is written immediately. Under load the batches grow by themselves.
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
    """A flush returned a wrong number of results. Its items may have been written."""


class Batcher(Generic[Item, Result]):
    """Collects submitted items and passes them to `flush`, at most `limit` in one call and one call at a time.

    `flush` must return one result per item, in order, or change nothing and raise.

    - If a result is an exception, `submit` raises it for that item only.
    - If `flush` raises because of its content, each item is flushed alone, so only the bad item fails.
    - If `flush` raises for another reason (the database is unavailable), all its items fail with that error.
    - If `flush` returns a wrong number of results, all its items fail with WrongResults. None is flushed again.
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
        """Returns the result of `item` after the flush with it has returned, so after its transaction committed."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flusher is None:
            # An empty context, so that log lines of the flush do not carry the id of the first item's request.
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
            _resolve(future, result)


def _resolve(future: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if future.done():  # the submitter was cancelled during the flush; its item is written nevertheless
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
