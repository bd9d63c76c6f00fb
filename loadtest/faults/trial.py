"""One trial: load on, one fault after the other, each healed before the next, and the verdict at the end."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf
from random import Random

import msgspec

from loadtest.faults.customers import Crowd
from loadtest.faults.faults import FAULTS, HEALED_IN, Fault
from loadtest.faults.history import tally
from loadtest.faults.place import Place
from loadtest.faults.to_processes import NotHappened
from loadtest.faults.verdict import Verdict, final, healed

CALM = (0.5, 2.0)


class Happening(msgspec.Struct, frozen=True):
    """A fault as it was; times in seconds, `at` since the beginning.

    `in_flight` orders were not decided then; `left` were not decided or not told of when it ended. `no_order` and
    `no_toast` are the longest times since then in which no order was accepted, and no page told anything.
    """

    fault: str
    at: float
    what: str
    in_flight: int
    left: int
    lasted: float
    healed_after: float
    no_order: float
    no_toast: float
    broken: dict[str, list[str]]


class Outcome(msgspec.Struct, frozen=True):
    seed: int
    seconds: float
    happenings: list[Happening]
    orders: int
    requests: dict[str, int]
    broken: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        """The invariants that did not hold, at any time."""
        return sorted({name for of in (self.broken, *(h.broken for h in self.happenings)) for name in of})


def plan(seed: int, rounds: int, among: Iterable[str] = FAULTS) -> list[Fault]:
    """Every fault once before any comes again."""
    random = Random(seed)
    planned: list[Fault] = []
    while len(planned) < rounds:
        names = list(among)
        random.shuffle(names)
        planned += [FAULTS[name] for name in names]
    return planned[:rounds]


class Trial:
    """`limit` shortens the time that healing may take. Ends early when `seconds` are over or something broke.

    A `brief` one then leaves out what is looked at in the end.
    """

    def __init__(
        self, shop: Place, seed: int, limit: float | None = None, seconds: float = inf, *, brief: bool = False
    ) -> None:
        self._shop = shop
        self._seed = seed
        self._random = Random(seed)
        self._limit = limit
        self._seconds = seconds
        self._brief = brief
        self._began = time.monotonic()
        self._crowd = Crowd(shop.session, shop.url, Random(seed + 1))

    async def run(self, faults: Sequence[Fault]) -> Outcome:
        await self._crowd.gather()
        trading = asyncio.create_task(self._crowd.trade())
        happenings: list[Happening] = []
        verdict = Verdict()
        try:
            for fault in faults:
                await asyncio.sleep(self._random.uniform(*CALM))
                happenings.append(await self._happen(fault))
                if happenings[-1].broken or time.monotonic() - self._began > self._seconds:
                    break
            if not (self._brief and happenings[-1].broken):
                await final(self._shop, self._crowd, verdict, self._limit or HEALED_IN)
        finally:
            trading.cancel()
            await self._crowd.leave()
        return self._outcome(happenings, verdict)

    async def _happen(self, fault: Fault) -> Happening:
        verdict = Verdict()
        in_flight = await self._shop.contents.undecided()
        at = time.monotonic()
        # A Random of its own, so that what one fault draws does not depend on how long others took.
        try:
            what = await fault.inflict(self._shop, Random(self._random.getrandbits(64)))
        except NotHappened as error:
            verdict.expect("fault-happened", False, what := str(error))
        lasted = time.monotonic() - at
        left, took = await healed(self._shop, self._crowd, verdict, self._limit or fault.limit)
        began = at - self._began
        silences = longest_gap(self._crowd.accepted(), at), longest_gap(self._crowd.told(), at)
        happening = Happening(
            fault.name, began, what, in_flight, left, lasted, took, *silences, dict(verdict.broken)
        )
        print(line(happening), flush=True)
        return happening

    def _outcome(self, happenings: list[Happening], verdict: Verdict) -> Outcome:
        orders = sum(len(customer.orders) for customer in self._crowd.customers)
        seconds = time.monotonic() - self._began
        return Outcome(self._seed, seconds, happenings, orders, tally(self._crowd.deeds), dict(verdict.broken))


def longest_gap(moments: Iterable[float], since: float) -> float:
    later = sorted(moment for moment in moments if moment > since)
    return max(end - start for start, end in pairwise([since, *later, time.monotonic()]))


def line(happening: Happening) -> str:
    verdict = " ".join(happening.broken) or "ok"
    return (
        f"{happening.at:7.1f}  {happening.fault:<34} {happening.in_flight:>9}  {happening.left:>4}"
        f"  {happening.lasted:6.1f}  {happening.healed_after:6.1f}"
        f"  {happening.no_order:8.1f}  {happening.no_toast:8.1f}  {verdict:<8}  {happening.what}"
    )


HEADER = (
    "     at  fault                              in flight  left  lasted  healed"
    "  no order  no toast  verdict   what"
)
