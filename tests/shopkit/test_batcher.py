import asyncio
from collections.abc import Sequence

import pytest
import structlog

from shopkit.runtime.batcher import Batcher, WrongResults


class Flush:
    """A flush function that returns ten times each item. It waits while `may_finish` is not set.

    For the items in `raised` it raises the error; for those in `returned` it returns the error as their result.
    """

    def __init__(self) -> None:
        self.given: list[list[int]] = []
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self.started = asyncio.Event()
        self.raised: dict[int, Exception] = {}
        self.returned: dict[int, Exception] = {}

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.given.append(list(items))
        self.started.set()
        await self.may_finish.wait()
        for item in items:
            if item in self.raised:
                raise self.raised[item]
        return [self.returned.get(item, item * 10) for item in items]


@pytest.fixture
def flush() -> Flush:
    return Flush()


@pytest.fixture
def batcher(flush: Flush) -> Batcher[int, int]:
    return Batcher("test", flush)


def submitted(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(batcher.submit(item)) for item in items]


async def test_an_idle_batcher_flushes_a_single_item_immediately(batcher: Batcher[int, int], flush: Flush) -> None:
    flush.may_finish.clear()
    first = submitted(batcher, 1)
    await flush.started.wait()  # without a second item and without a timer
    flush.may_finish.set()
    assert await asyncio.gather(*first) == [10]
    assert flush.given == [[1]]


async def test_items_submitted_during_a_flush_form_the_next_flush(batcher: Batcher[int, int], flush: Flush) -> None:
    flush.may_finish.clear()
    first = submitted(batcher, 1)
    await flush.started.wait()
    later = submitted(batcher, 2, 3)
    await asyncio.sleep(0)
    latest = submitted(batcher, 4)
    await asyncio.sleep(0)
    flush.may_finish.set()
    assert await asyncio.gather(*first, *later, *latest) == [10, 20, 30, 40]
    assert flush.given == [[1], [2, 3, 4]]


async def test_each_submitter_gets_the_result_of_its_own_item(batcher: Batcher[int, int]) -> None:
    items = [7, 3, 9, 1, 7, 5]
    assert await asyncio.gather(*submitted(batcher, *items)) == [item * 10 for item in items]


async def test_a_flush_has_at_most_limit_items(flush: Flush) -> None:
    batcher = Batcher[int, int]("test", flush, limit=2)
    assert await asyncio.gather(*submitted(batcher, 1, 2, 3, 4, 5)) == [10, 20, 30, 40, 50]
    assert flush.given == [[1, 2], [3, 4], [5]]


async def test_one_invalid_item_does_not_fail_the_others(batcher: Batcher[int, int], flush: Flush) -> None:
    bad = flush.raised[2] = ValueError("bad")
    assert await asyncio.gather(*submitted(batcher, 1, 2, 3), return_exceptions=True) == [10, bad, 30]


async def test_a_transient_error_fails_all_items_of_the_flush(batcher: Batcher[int, int], flush: Flush) -> None:
    unavailable = flush.raised[2] = ConnectionRefusedError("unavailable")
    assert await asyncio.gather(*submitted(batcher, 1, 2, 3), return_exceptions=True) == [unavailable] * 3
    assert flush.given == [[1, 2, 3]]


async def test_an_exception_returned_for_one_item_is_raised_only_to_its_submitter(
    batcher: Batcher[int, int], flush: Flush
) -> None:
    rejected = flush.returned[2] = LookupError("no such account")
    assert await asyncio.gather(*submitted(batcher, 1, 2, 3), return_exceptions=True) == [10, rejected, 30]
    assert flush.given == [[1, 2, 3]]


async def test_an_item_whose_submitter_is_cancelled_before_the_flush_is_not_flushed(
    batcher: Batcher[int, int], flush: Flush
) -> None:
    flush.may_finish.clear()
    first = submitted(batcher, 1)
    await flush.started.wait()
    cancelled, kept = submitted(batcher, 2, 3)
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    flush.may_finish.set()
    assert await asyncio.gather(*first, kept) == [10, 30]
    assert flush.given == [[1], [3]]


async def test_cancelling_a_submitter_during_the_flush_does_not_affect_others(
    batcher: Batcher[int, int], flush: Flush
) -> None:
    flush.may_finish.clear()
    cancelled, kept = submitted(batcher, 1, 2)
    await flush.started.wait()
    cancelled.cancel()
    await asyncio.sleep(0)
    flush.may_finish.set()
    assert await kept == 20
    assert await batcher.submit(3) == 30


async def test_the_batcher_continues_after_an_error(batcher: Batcher[int, int], flush: Flush) -> None:
    flush.raised[1] = ValueError("bad")
    with pytest.raises(ValueError, match="bad"):
        await batcher.submit(1)
    assert await batcher.submit(2) == 20


async def test_a_flush_does_not_inherit_the_log_context_of_a_request() -> None:
    contexts: list[dict[str, str]] = []

    async def flush(items: Sequence[int]) -> Sequence[int]:
        contexts.append(structlog.contextvars.get_contextvars())
        return items

    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        await Batcher("test", flush).submit(1)
    assert contexts == [{}]


@pytest.mark.parametrize("results", [[], [10], [10, 20, 30, 40]], ids=["none", "too-few", "too-many"])
async def test_a_wrong_number_of_results_fails_every_submitter_of_the_flush(results: list[int]) -> None:
    flushed: list[list[int]] = []

    async def flush(items: Sequence[int]) -> Sequence[int]:
        flushed.append(list(items))
        return results if len(flushed) == 1 else [item * 10 for item in items]

    batcher = Batcher[int, int]("test", flush, limit=3)
    async with asyncio.timeout(5):
        *failed, later = await asyncio.gather(*submitted(batcher, 1, 2, 3, 4), return_exceptions=True)
    assert [type(outcome) for outcome in failed] == [WrongResults] * 3
    assert f"{len(results)} results for 3 items" in str(failed[0])
    assert later == 40
    assert flushed == [[1, 2, 3], [4]]  # the first three items are not written again
