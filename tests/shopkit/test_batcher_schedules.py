"""The batcher under any order of submitting, cancelling and flushing, with failures of every kind."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkit.runtime.batcher import Batcher

Kind: TypeAlias = Literal["good", "poison", "refused"]
Outcome: TypeAlias = int | Exception


class Item(msgspec.Struct, frozen=True):
    number: int
    kind: Kind


class Flush(msgspec.Struct):
    items: list[Item]
    error: Exception | None = None


class Store:
    """What is flushed into. Each flush waits until it may go on; those numbered in `outages` find nobody there."""

    def __init__(self, outages: set[int]) -> None:
        self.flushes: list[Flush] = []
        self.may_go_on = asyncio.Semaphore(0)
        self.own: dict[Item, Outcome] = {}
        self.at_work = 0
        self.most_at_work = 0
        self._outages = outages

    async def __call__(self, items: Sequence[Item]) -> list[Outcome]:
        flush = Flush(list(items))
        self.flushes.append(flush)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        await self.may_go_on.acquire()
        self.at_work -= 1
        flush.error = self._error(len(self.flushes) - 1, items)
        if flush.error is not None:
            raise flush.error
        return [self.own_of(item) for item in items]

    def own_of(self, item: Item) -> Outcome:
        """The result of this item, or the error that it alone is to meet."""
        errors = {"poison": ValueError(item), "refused": LookupError(item)}
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


class Day:
    """Submitters at one batcher. Steps are applied in turn; `cancelled` says who was given to a flush before."""

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

    def go_on(self) -> None:
        if self.store.at_work:
            self.store.may_go_on.release()

    async def end(self) -> None:
        """Lets every flush go on. Who still waits when nothing happens any more was forgotten."""
        for _ in range(10 * len(self.tasks) + 10):
            self.go_on()
            await asyncio.sleep(0)
        assert [item for item, task in self.tasks.items() if not task.done()] == []


Step: TypeAlias = Callable[[Day], None] | None


def submitting(kind: Kind) -> Step:
    return lambda day: day.submit(kind)


def cancelling(number: int) -> Step:
    return lambda day: day.cancel(number)


kinds: st.SearchStrategy[Kind] = st.sampled_from(["good", "good", "good", "poison", "refused"])
steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(submitting, kinds),
    st.builds(submitting, kinds),
    st.builds(cancelling, st.integers(0, 3)),
    st.just(Day.go_on),
    st.none(),  # everybody else takes one step
)


async def lived(limit: int, outages: set[int], schedule: Sequence[Step]) -> Day:
    day = Day(limit, outages)
    for step in schedule:
        await asyncio.sleep(0) if step is None else step(day)
    await day.end()
    check(day, limit)

    outages.clear()
    day.submit("good")
    await day.end()
    check(day, limit)
    return day


def check(day: Day, limit: int) -> None:
    flushes = day.store.flushes
    for item, task in day.tasks.items():
        if item not in day.cancelled:
            assert (task.exception() or task.result()) == due(day.store, item)
        elif not day.cancelled[item]:
            assert not day.store.flushes_of(item)
    written = Counter(item for flush in flushes if flush.error is None for item in flush.items)
    assert all(count == 1 for count in written.values())
    assert all(1 <= len(flush.items) <= limit for flush in flushes)
    assert day.store.most_at_work <= 1
    given_first = list(dict.fromkeys(item for flush in flushes for item in flush.items))
    assert given_first == [item for item in day.tasks if item in given_first]


def due(store: Store, item: Item) -> Outcome:
    """Its own, unless the store was away; until then it was only given in vain beside a poisonous one."""
    *before, last = store.flushes_of(item)
    assert all(isinstance(flush.error, ValueError) and len(flush.items) > 1 for flush in before)
    return last.error if isinstance(last.error, ConnectionError) else store.own_of(item)


@settings(max_examples=600)
@given(st.integers(1, 5), st.sets(st.integers(0, 9), max_size=3), st.lists(steps, min_size=8, max_size=40))
def test_each_submitter_gets_its_own_result_under_any_schedule(
    limit: int, outages: set[int], schedule: list[Step]
) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(lived(limit, outages, schedule))
