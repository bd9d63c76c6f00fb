"""Runs one trial: under load, injects one fault after another, waits for healing each time, and checks the end."""

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
from loadtest.faults.keyed_request import tally
from loadtest.faults.shop import ShopUnderFaults
from loadtest.faults.target import HEALING_SECONDS, FaultNotInjected, InjectedFault, TargetT
from loadtest.faults.verdict import Verdict, check_end, wait_until_healed

CALM_SECONDS = (0.5, 2.0)
GATHERING_SECONDS = 120
FAULT_SECONDS = 600


class Happening(msgspec.Struct, frozen=True):
    """One injected fault and how the shop healed. All times are in seconds.

    `at` is the start of the fault since the start of the trial, and `what` describes its effect.
    `in_flight` is the number of undecided orders at its start. `left` is the number of orders at its end that were
    undecided or not yet shown on every page.
    `no_order` and `no_toast` are the longest times since its start without an accepted order, and without an order
    frame on any page.
    If the shop could not be checked after the fault, `healed_after` is infinite and `left` is -1.
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
    """The result of a trial.

    `error` says why the trial ended before its final checks. `judged` holds the invariants that were checked, and
    `broken` the violations that the final checks found.
    """

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
        """Returns the invariants that were broken at any time."""
        return sorted({name for of in (self.broken, *(h.broken for h in self.happenings)) for name in of})


def plan(seed: int, rounds: int, names: Iterable[str] = FAULTS) -> list[InjectedFault[ShopUnderFaults]]:
    """Returns a random order of faults, in which each fault occurs once before any is repeated."""
    random = Random(seed)
    planned: list[InjectedFault[ShopUnderFaults]] = []
    while len(planned) < rounds:
        shuffled = list(names)
        random.shuffle(shuffled)
        planned += [FAULTS[name] for name in shuffled]
    return planned[:rounds]


class Trial(Generic[TargetT]):
    """A trial on one shop.

    It starts no further fault after `seconds`, or after a fault that broke an invariant. A `brief` trial then skips
    the final checks.
    `limit` replaces the seconds that healing may take.
    """

    def __init__(
        self, shop: TargetT, seed: int, limit: float | None = None, seconds: float = inf, *, brief: bool = False
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

    async def run(self, faults: Sequence[InjectedFault[TargetT]]) -> Outcome:
        """Runs the trial. Returns an outcome also after an error or a cancellation."""
        error = ""
        try:
            await self._run(faults)
        except asyncio.CancelledError:
            error = "ended by a signal"
        except Exception:  # noqa: BLE001 (the outcome reports the error)
            error = traceback.format_exc()
        finally:
            await self._crowd.leave()
        return self._outcome(len(faults), error)

    async def _run(self, faults: Sequence[InjectedFault[TargetT]]) -> None:
        async with asyncio.timeout(GATHERING_SECONDS):
            await self._crowd.gather()
        self._crowd.open()
        broken = False
        for fault in faults:
            if broken or time.monotonic() - self._began > self._seconds:
                break
            await asyncio.sleep(self._random.uniform(*CALM_SECONDS))
            broken = bool((await self._happen(fault)).broken)
        if not (self._brief and broken):
            await check_end(self._shop, self._crowd, self._verdict, self._limit or HEALING_SECONDS)

    async def _happen(self, fault: InjectedFault[TargetT]) -> Happening:
        verdict = Verdict()
        in_flight = await self._shop.stores.undecided()
        at = time.monotonic()
        # Each fault has its own Random, so its choices do not depend on the duration of earlier faults.
        what = await inflict(fault, self._shop, Random(self._random.getrandbits(64)), verdict)
        lasted = time.monotonic() - at
        limit = self._limit or fault.limit
        try:
            left, took = await wait_until_healed(
                self._shop, self._crowd, verdict, limit, self._crowd.start_probes()
            )
        except Exception as error:  # noqa: BLE001 (the verdict reports the error)
            left, took = -1, inf
            verdict.expect("ready-again", False, f"the shop could not be checked: {error!r}")
        began = at - self._began
        gaps = longest_gap(self._crowd.accepted_times(), at), longest_gap(self._crowd.toast_times(), at)
        happening = Happening(fault.name, began, what, in_flight, left, lasted, took, *gaps, dict(verdict.broken))
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
            tally(self._crowd.requests),
            self._verdict.judged,
            dict(self._verdict.broken),
            error,
        )


async def inflict(fault: InjectedFault[TargetT], shop: TargetT, random: Random, verdict: Verdict) -> str:
    """Injects a fault. Returns a description of its effect.

    A fault that raises breaks `fault-happened`, and the trial continues.
    """
    failure = ""
    try:
        async with asyncio.timeout(FAULT_SECONDS):
            what = await fault.inflict(shop, random)
    except FaultNotInjected as error:
        what = failure = str(error)
    except Exception as error:  # noqa: BLE001 (the verdict reports the error)
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
