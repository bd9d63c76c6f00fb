"""One trial: load on, one fault after the other, each healed before the next, and the verdict at the end."""

import asyncio
import time
import traceback
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf
from random import Random
from typing import Generic

import msgspec

from loadtest.faults.customers import Crowd
from loadtest.faults.faults import FAULTS
from loadtest.faults.history import tally
from loadtest.faults.place import HEALED_IN, InjectedFault, NotHappened, On
from loadtest.faults.shop import ShopUnderFaults
from loadtest.faults.verdict import Verdict, final, healed

CALM = (0.5, 2.0)
GATHERED_IN = 120
INFLICTED_IN = 600


class Happening(msgspec.Struct, frozen=True):
    """A fault as it was; times in seconds, `at` since the beginning.

    `in_flight` orders were not decided then; `left` were not decided or not told of when it ended. `no_order` and
    `no_toast` are the longest times since then in which no order was accepted, and no page told anything. When
    nobody could look at the shop any more, `healed_after` is infinite and `left` is -1.
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
    """`error`: what ended it before its verdict. `judged`: the invariants that were looked at."""

    seed: int
    seconds: float
    planned: int
    happenings: list[Happening]
    orders: int
    requests: dict[str, int]
    judged: set[str]
    broken: dict[str, list[str]]
    error: str

    @property
    def names(self) -> list[str]:
        """The invariants that did not hold, at any time."""
        return sorted({name for of in (self.broken, *(h.broken for h in self.happenings)) for name in of})


def plan(seed: int, rounds: int, among: Iterable[str] = FAULTS) -> list[InjectedFault[ShopUnderFaults]]:
    """Every fault once before any comes again."""
    random = Random(seed)
    planned: list[InjectedFault[ShopUnderFaults]] = []
    while len(planned) < rounds:
        names = list(among)
        random.shuffle(names)
        planned += [FAULTS[name] for name in names]
    return planned[:rounds]


class Trial(Generic[On]):
    """`limit` shortens the time that healing may take. Ends early when `seconds` are over or something broke.

    A `brief` one then leaves out what is looked at in the end.
    """

    def __init__(
        self, shop: On, seed: int, limit: float | None = None, seconds: float = inf, *, brief: bool = False
    ) -> None:
        self._shop = shop
        self._seed = seed
        self._random = Random(seed)
        self._limit = limit
        self._seconds = seconds
        self._brief = brief
        self._began = time.monotonic()
        self._crowd = Crowd(shop.session, shop.url, Random(seed + 1))
        self._happenings: list[Happening] = []
        self._verdict = Verdict()

    async def run(self, faults: Sequence[InjectedFault[On]]) -> Outcome:
        """Whatever ends it, it says what it has seen."""
        error = ""
        try:
            await self._run(faults)
        except asyncio.CancelledError:
            error = "ended by a signal"
        except Exception:  # noqa: BLE001 (it is in the outcome, which is none of success)
            error = traceback.format_exc()
        finally:
            await self._crowd.leave()
        return self._outcome(len(faults), error)

    async def _run(self, faults: Sequence[InjectedFault[On]]) -> None:
        async with asyncio.timeout(GATHERED_IN):
            await self._crowd.gather()
        self._crowd.open()
        broken = False
        for fault in faults:
            if broken or time.monotonic() - self._began > self._seconds:
                break
            await asyncio.sleep(self._random.uniform(*CALM))
            broken = bool((await self._happen(fault)).broken)
        if not (self._brief and broken):
            await final(self._shop, self._crowd, self._verdict, self._limit or HEALED_IN)

    async def _happen(self, fault: InjectedFault[On]) -> Happening:
        verdict = Verdict()
        in_flight = await self._shop.contents.undecided()
        at = time.monotonic()
        # A Random of its own, so that what one fault draws does not depend on how long others took.
        what = await inflicted(fault, self._shop, Random(self._random.getrandbits(64)), verdict)
        lasted = time.monotonic() - at
        limit = self._limit or fault.limit
        try:
            left, took = await healed(self._shop, self._crowd, verdict, limit, self._crowd.ask_anew())
        except Exception as error:  # noqa: BLE001 (whatever it is, the verdict names it)
            left, took = -1, inf
            verdict.expect("ready-again", False, f"nobody could look: {error!r}")
        began = at - self._began
        silences = longest_gap(self._crowd.accepted(), at), longest_gap(self._crowd.told(), at)
        happening = Happening(
            fault.name, began, what, in_flight, left, lasted, took, *silences, dict(verdict.broken)
        )
        self._happenings.append(happening)
        self._verdict.judged |= verdict.judged
        print(line(happening), flush=True)
        return happening

    def _outcome(self, planned: int, error: str) -> Outcome:
        orders = sum(len(customer.orders) for customer in self._crowd.customers)
        return Outcome(
            self._seed,
            time.monotonic() - self._began,
            planned,
            self._happenings,
            orders,
            tally(self._crowd.deeds),
            self._verdict.judged,
            dict(self._verdict.broken),
            error,
        )


async def inflicted(fault: InjectedFault[On], shop: On, random: Random, verdict: Verdict) -> str:
    """What it did. One that raises has not happened as it should, and the trial goes on to say so."""
    failure = ""
    try:
        async with asyncio.timeout(INFLICTED_IN):
            what = await fault.inflict(shop, random)
    except NotHappened as error:
        what = failure = str(error)
    except Exception as error:  # noqa: BLE001 (whatever it is, the verdict names it)
        what, failure = repr(error), traceback.format_exc()
    verdict.expect("fault-happened", not failure, f"{fault.name}: {failure}")
    return what


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
