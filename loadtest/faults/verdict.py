"""What must hold when everything is well again, and the name of each thing that does not."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from loadtest.faults.customers import Crowd, Customer
from loadtest.faults.history import Deed
from loadtest.faults.place import Place
from loadtest.faults.reading import Unexplained, everything

# The management API says how full a queue was up to five seconds ago.
QUIET_SECONDS = 8.0
READ_SECONDS = 60

INVARIANTS = {
    "fault-happened": "Each fault did what it says; this says nothing about the shop.",
    "accepts-again": "After each fault a new order and a new top-up are accepted in time.",
    "order-decided": "Every accepted order is decided in time.",
    "decided-rightly": "Who has money enough pays every order, who has none pays none, others what they can.",
    "charged-once": "Each FINISHED order is one debit of its customer, and there are no others.",
    "answer-kept": "What was answered with 201 is there.",
    "key-honoured": "What was asked with one key was done once, and is answered alike each time.",
    "answer-explained": "Every request is answered well in the end, and with nothing but 502, 503 or 504 before.",
    "no-toast-lost": "Every page was told the end of every order of its user, or to read it once Redis was wiped.",
    "no-toast-doubled": "No page was given the same version of an order twice by one Redis.",
    "toast-true": "A toast says what the order says.",
    "sockets-paced": "A replica that is replaced closes its sockets a few at a time, with 1012.",
    "ready-again": "Every replica is ready in time.",
    "nothing-waiting": "Outbox, inbox, queues and dead letters are empty.",
    "books": "The auditor finds nothing.",
}


class Verdict:
    """`broken` holds what was found, by the names of INVARIANTS; `judged` are those that were looked at."""

    def __init__(self) -> None:
        self.broken: defaultdict[str, list[str]] = defaultdict(list)
        self.judged: set[str] = set()

    def expect(self, invariant: str, holds: object, found: str) -> None:
        assert invariant in INVARIANTS
        self.judged.add(invariant)
        if not holds:
            self.broken[invariant].append(found)


async def healed(
    shop: Place, crowd: Crowd, verdict: Verdict, limit: float, anew: Sequence[Deed] = ()
) -> tuple[int, float]:
    """Waits until all accepted so far is decided and told, and what is asked for `anew` is accepted.

    Returns how many orders were not decided and told at first, and the seconds.
    """
    began = time.monotonic()
    orders = crowd.accepted_until(began)
    left: int | None = None
    while True:
        statuses = await shop.contents.statuses([order_id for _, order_id in orders])
        gone = sorted({order_id for _, order_id in orders} - statuses.keys())
        undecided = [order_id for order_id, status in statuses.items() if status == "NEW"]
        untold = [(who, order_id) for who, order_id in _untold(orders) if statuses.get(order_id, "NEW") != "NEW"]
        left = len({*undecided, *(order_id for _, order_id in untold)}) if left is None else left
        refused = [deed.path for deed in anew if not deed.answered_at]
        ready = await shop.well()
        took = time.monotonic() - began
        if (ready and not undecided and not untold and not refused) or gone or took > limit:
            break
        await asyncio.sleep(0.3)
    late = f"after {took:.0f} s"
    verdict.expect("answer-kept", not gone, f"{len(gone)} orders are gone: {gone[:3]}")
    if not gone:
        verdict.expect("ready-again", ready, f"not all replicas {late}")
        verdict.expect("order-decided", not undecided, f"{len(undecided)} undecided {late}: {undecided[:3]}")
        verdict.expect("no-toast-lost", not untold, f"{len(untold)} pages were not told {late}: {untold[:3]}")
        if anew:
            verdict.expect("accepts-again", not refused, f"not accepted {late}: {refused}")
    return left, took


def _untold(orders: list[tuple[Customer, str]]) -> list[tuple[str, str]]:
    return [
        (customer.user_id, order_id)
        for customer, order_id in orders
        for page in customer.pages
        if order_id not in page.told
    ]


async def final(shop: Place, crowd: Crowd, verdict: Verdict, limit: float, quiet: float = QUIET_SECONDS) -> None:
    """When nobody orders any more: everything else, once nothing moves."""
    unanswered = await crowd.finish(limit)
    verdict.expect("answer-explained", not unanswered, f"{unanswered} requests have no answer after {limit} s")
    for cause in crowd.died:
        verdict.expect("answer-explained", False, cause)
    await healed(shop, crowd, verdict, limit)
    await _quiet(shop, crowd, verdict, limit, quiet)
    await asyncio.gather(*(_customer(shop, customer, verdict) for customer in crowd.customers))
    for deed in crowd.deeds:
        for surprise in deed.surprises:
            verdict.expect("answer-explained", False, surprise)
        verdict.expect("key-honoured", not deed.others, f"{deed.path}: {deed.id} and {deed.others} of one key")
    status, words = await shop.contents.audit()
    verdict.expect("books", status == 0, "\n".join(_offenders(words)))


async def _quiet(shop: Place, crowd: Crowd, verdict: Verdict, limit: float, quiet: float) -> None:
    """Waits until for `quiet` seconds nothing has been waiting and no page has been told anything."""
    began = waited = time.monotonic()
    last: object = None
    while True:
        if waiting := await shop.contents.waiting():
            last, waited = waiting, time.monotonic()
        now, told = time.monotonic(), max(crowd.told(), default=began)
        if now - max(waited, told) >= quiet or now - began > limit + quiet:
            break
        await asyncio.sleep(0.5)
    found = f"{last}, {now - waited:.0f} s ago; pages were told something {now - told:.0f} s ago"
    verdict.expect("nothing-waiting", now - max(waited, told) >= quiet, found)


def _offenders(words: str) -> list[str]:
    return [line for line in words.splitlines() if "OFFENDERS" in line or line.startswith("    ")]


async def _customer(shop: Place, customer: Customer, verdict: Verdict) -> None:
    who = customer.user_id
    try:
        async with asyncio.timeout(READ_SECONDS):
            orders = await everything(shop.session, shop.url, "/api/orders", who)
            entries = await everything(shop.session, shop.url, "/api/payments/account/entries", who)
    except TimeoutError:
        verdict.expect("answer-kept", False, f"{who}: cannot be read within {READ_SECONDS} s")
        return
    except Unexplained as error:
        verdict.expect("answer-explained", False, str(error))
        return
    _answers(who, "orders", {d.id for d in customer.orders if d.id}, {order["id"] for order in orders}, verdict)
    top_ups = {entry["id"] for entry in entries if entry["kind"] == "top_up"}
    _answers(who, "top-ups", {d.id for d in customer.top_ups if d.id}, top_ups, verdict)
    _decisions(customer, orders, verdict)
    finished = Counter(order["id"] for order in orders if order["status"] == "FINISHED")
    debits = Counter(entry["order_id"] for entry in entries if entry["kind"] == "debit")
    verdict.expect("charged-once", finished == debits, f"{who}: {(debits - finished) + (finished - debits)}")
    _toasts(customer, orders, verdict)
    _gaps(customer, shop.wiped_at, verdict)


def _answers(who: str, what: str, told: set[str], there: set[str], verdict: Verdict) -> None:
    verdict.expect("answer-kept", not told - there, f"{who}: {what} {sorted(told - there)[:3]} are gone")
    verdict.expect("key-honoured", not there - told, f"{who}: {what} {sorted(there - told)[:3]} nobody was told of")


def _decisions(customer: Customer, orders: list[dict[str, Any]], verdict: Verdict) -> None:
    paid = sum(order["status"] == "FINISHED" for order in orders)
    expected = len(orders) if customer.affords is None else min(len(orders), customer.affords)
    decided = all(order["status"] != "NEW" for order in orders)
    found = f"{customer.user_id}: {paid} of {len(orders)} orders are paid, not {expected}"
    verdict.expect("decided-rightly", paid == expected or not decided, found)


def _toasts(customer: Customer, orders: list[dict[str, Any]], verdict: Verdict) -> None:
    statuses = {order["id"]: order["status"] for order in orders}
    for page in customer.pages:
        doubled = [toast for toast, times in page.toasts.items() if times > 1]
        verdict.expect("no-toast-doubled", not doubled, f"{page.user_id}: {doubled[:3]}")
        untrue = [toast for toast in page.toasts if statuses.get(toast.order_id) != toast.status]
        verdict.expect("toast-true", not untrue, f"{page.user_id}: {untrue[:3]}")


def _gaps(customer: Customer, wiped_at: list[float], verdict: Verdict) -> None:
    """Who lived through a wipe may have been told to read its orders, once for each."""
    for page in customer.pages:
        kept = f"{page.user_id}: was told to read its orders {page.gaps} times, and Redis was kept"
        verdict.expect("no-toast-lost", not page.gaps, kept)
        wipes = sum(moment >= page.came_at for moment in wiped_at)
        emptied = f"{page.user_id}: met {page.epochs_left} other Redis, which was wiped {wipes} times"
        verdict.expect("no-toast-lost", page.epochs_left <= wipes, emptied)
