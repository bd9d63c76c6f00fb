"""Property test of the batcher: any schedule of submits, cancellations and flushes, with all kinds of errors."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkit.runtime.batcher import Batcher

Kind: TypeAlias = Literal["good", "poison", "rejected"]
Outcome: TypeAlias = int | Exception


class Item(msgspec.Struct, frozen=True):
    number: int
    kind: Kind


class Flush(msgspec.Struct):
    items: list[Item]
    error: Exception | None = None


class Store:
    """The flush function.

    Each flush waits for `may_finish`. A flush whose number is in `outages` fails transiently.
    """

    def __init__(self, outages: set[int]) -> None:
        self.flushes: list[Flush] = []
        self.may_finish = asyncio.Semaphore(0)
        self.own: dict[Item, Outcome] = {}
        self.running = 0
        self.max_running = 0
        self._outages = outages

    async def __call__(self, items: Sequence[Item]) -> list[Outcome]:
        flush = Flush(list(items))
        self.flushes.append(flush)
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        await self.may_finish.acquire()
        self.running -= 1
        flush.error = self._error(len(self.flushes) - 1, items)
        if flush.error is not None:
            raise flush.error
        return [self.own_of(item) for item in items]

    def own_of(self, item: Item) -> Outcome:
        """Returns the result of this item, or the error that only its submitter must get."""
        errors = {"poison": ValueError(item), "rejected": LookupError(item)}
        return self.own.setdefault(item, errors.get(item.kind, item.number * 10))

    def _error(self, number: int, items: Sequence[Item]) -> Exception | None:
        if number in self._outages:
            return ConnectionRefusedError(number)
        poison = [
            own for item in items if item.kind == "poison" and isinstance(own := self.own_of(item), Exception)
        ]
        return poison[0] if poison else None

    def flushes_of(self, item: Item) -> list[Flush]:
        return [flush for flush in self.flushes if item in flush.items]


class Scenario:
    """The submitters of one batcher.

    `cancelled` maps a cancelled item to whether a flush had received it before.
    """

    def __init__(self, limit: int, outages: set[int]) -> None:
        self.store = Store(outages)
        self.batcher = Batcher[Item, int]("test", self.store, limit)
        self.tasks: dict[Item, asyncio.Task[int]] = {}
        self.cancelled: dict[Item, bool] = {}

    def submit(self, kind: Kind) -> None:
        item = Item(len(self.tasks), kind)
        self.tasks[item] = asyncio.create_task(self.batcher.submit(item))

    def cancel(self, number: int) -> None:
        waiting = [item for item, task in self.tasks.items() if not task.done() and item not in self.cancelled]
        for item in waiting[number : number + 1]:
            self.tasks[item].cancel()
            self.cancelled[item] = bool(self.store.flushes_of(item))

    def finish_flush(self) -> None:
        if self.store.running:
            self.store.may_finish.release()

    async def end(self) -> None:
        """Finishes all flushes. Fails if a submitter still waits afterwards."""
        for _ in range(10 * len(self.tasks) + 10):
            self.finish_flush()
            await asyncio.sleep(0)
        assert [item for item, task in self.tasks.items() if not task.done()] == []


Step: TypeAlias = Callable[[Scenario], None] | None


def submitting(kind: Kind) -> Step:
    return lambda scenario: scenario.submit(kind)


def cancelling(number: int) -> Step:
    return lambda scenario: scenario.cancel(number)


kinds: st.SearchStrategy[Kind] = st.sampled_from(["good", "good", "good", "poison", "rejected"])
steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(submitting, kinds),
    st.builds(submitting, kinds),
    st.builds(cancelling, st.integers(0, 3)),
    st.just(Scenario.finish_flush),
    st.none(),  # all other tasks take one step
)


async def run_scenario(limit: int, outages: set[int], schedule: Sequence[Step]) -> Scenario:
    scenario = Scenario(limit, outages)
    for step in schedule:
        await asyncio.sleep(0) if step is None else step(scenario)
    await scenario.end()
    check(scenario, limit)

    outages.clear()
    scenario.submit("good")
    await scenario.end()
    check(scenario, limit)
    return scenario


def check(scenario: Scenario, limit: int) -> None:
    flushes = scenario.store.flushes
    for item, task in scenario.tasks.items():
        if item not in scenario.cancelled:
            assert (task.exception() or task.result()) == expected(scenario.store, item)
        elif not scenario.cancelled[item]:
            assert not scenario.store.flushes_of(item)
    written = Counter(item for flush in flushes if flush.error is None for item in flush.items)
    assert all(count == 1 for count in written.values())
    assert all(1 <= len(flush.items) <= limit for flush in flushes)
    assert scenario.store.max_running <= 1
    first_flushed = list(dict.fromkeys(item for flush in flushes for item in flush.items))
    assert first_flushed == [item for item in scenario.tasks if item in first_flushed]


def expected(store: Store, item: Item) -> Outcome:
    """Returns the outcome that is correct for the item: its own, or the error of an outage.

    Each earlier flush of the item must have failed because of a poison item in the same batch.
    """
    *earlier, last = store.flushes_of(item)
    assert all(isinstance(flush.error, ValueError) and len(flush.items) > 1 for flush in earlier)
    return last.error if isinstance(last.error, ConnectionError) else store.own_of(item)


@settings(max_examples=600)
@given(st.integers(1, 5), st.sets(st.integers(0, 9), max_size=3), st.lists(steps, min_size=8, max_size=40))
def test_each_submitter_gets_its_own_result_under_any_schedule(
    limit: int, outages: set[int], schedule: list[Step]
) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(run_scenario(limit, outages, schedule))
