"""The invariants of a trial, and the checks of them after each fault and at the end."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from loadtest.faults.customers import Crowd, Customer
from loadtest.faults.keyed_request import KeyedRequest
from loadtest.faults.pagination import UnexplainedResponse, read_all_items
from loadtest.faults.target import FaultTarget

# Longer than the five seconds by which the management API's message counts can be out of date.
QUIET_SECONDS = 8.0
READ_SECONDS = 60

INVARIANTS = {
    "fault-happened": "Each fault took effect. A violation is an error of the suite, not of the shop.",
    "accepts-again": "After each fault a new order and a new top-up are accepted in time.",
    "order-decided": "Every accepted order is decided in time.",
    "decided-rightly": "As many orders of a customer are paid as the balance allows.",
    "charged-once": "Each FINISHED order has exactly one debit, and there are no other debits.",
    "answer-kept": "Every order and top-up that was answered with 201 is stored.",
    "key-honoured": "All requests with one idempotency key have one effect and name one id.",
    "answer-explained": "Every request succeeds in the end, after no other errors than 502, 503 or 504.",
    "no-toast-lost": "Every page shows the end of every order of its user. It reloads only after a wipe of Redis.",
    "no-toast-doubled": "No page receives the same version of an order twice within one epoch.",
    "toast-true": "A toast has the status of its order.",
    "sockets-paced": "A replica that is replaced closes its sockets a few at a time, with 1012.",
    "ready-again": "Every replica is ready in time.",
    "nothing-waiting": "Outboxes, inbox and queues are empty in the end, and there are no dead letters.",
    "books": "The auditor finds no error.",
}


class Verdict:
    """`judged` holds the invariants that were checked, and `broken` the violations of each."""

    def __init__(self) -> None:
        self.broken: defaultdict[str, list[str]] = defaultdict(list)
        self.judged: set[str] = set()

    def expect(self, invariant: str, holds: object, violation: str) -> None:
        assert invariant in INVARIANTS
        self.judged.add(invariant)
        if not holds:
            self.broken[invariant].append(violation)


async def wait_until_healed(
    shop: FaultTarget, crowd: Crowd, verdict: Verdict, limit: float, probes: Sequence[KeyedRequest] = ()
) -> tuple[int, float]:
    """Waits until all accepted orders are decided and shown on all pages, and the `probes` are accepted.

    Returns the number of orders that were undecided or not shown at first, and the seconds of waiting.
    """
    began = time.monotonic()
    orders = crowd.accepted_until(began)
    left: int | None = None
    while True:
        statuses = await shop.stores.statuses([order_id for _, order_id in orders])
        missing = sorted({order_id for _, order_id in orders} - statuses.keys())
        undecided = [order_id for order_id, status in statuses.items() if status == "NEW"]
        unshown = [(who, order_id) for who, order_id in _unshown(orders) if statuses.get(order_id, "NEW") != "NEW"]
        left = len({*undecided, *(order_id for _, order_id in unshown)}) if left is None else left
        unaccepted = [request.path for request in probes if not request.answered_at]
        ready = await shop.all_ready()
        took = time.monotonic() - began
        if (ready and not undecided and not unshown and not unaccepted) or missing or took > limit:
            break
        await asyncio.sleep(0.3)
    after = f"after {took:.0f} s"
    verdict.expect("answer-kept", not missing, f"{len(missing)} orders are missing: {missing[:3]}")
    if not missing:
        verdict.expect("ready-again", ready, f"not all replicas are ready {after}")
        verdict.expect("order-decided", not undecided, f"{len(undecided)} undecided {after}: {undecided[:3]}")
        verdict.expect("no-toast-lost", not unshown, f"{len(unshown)} toasts are missing {after}: {unshown[:3]}")
        if probes:
            verdict.expect("accepts-again", not unaccepted, f"not accepted {after}: {unaccepted}")
    return left, took


def _unshown(orders: list[tuple[Customer, str]]) -> list[tuple[str, str]]:
    return [
        (customer.user_id, order_id)
        for customer, order_id in orders
        for page in customer.pages
        if order_id not in page.shown
    ]


async def check_end(
    shop: FaultTarget, crowd: Crowd, verdict: Verdict, limit: float, quiet: float = QUIET_SECONDS
) -> None:
    """Stops the customers, waits until all orders are processed, and checks the other invariants."""
    unanswered = await crowd.finish(limit)
    verdict.expect("answer-explained", not unanswered, f"{unanswered} requests have no answer after {limit} s")
    for cause in crowd.died:
        verdict.expect("answer-explained", False, cause)
    await wait_until_healed(shop, crowd, verdict, limit)
    await _wait_until_quiet(shop, crowd, verdict, limit, quiet)
    await asyncio.gather(*(_check_customer(shop, customer, verdict) for customer in crowd.customers))
    for request in crowd.requests:
        for response in request.unexplained:
            verdict.expect("answer-explained", False, response)
        verdict.expect(
            "key-honoured",
            not request.conflicting_ids,
            f"{request.path}: {request.id} and {request.conflicting_ids} of one key",
        )
    status, output = await shop.stores.audit()
    verdict.expect("books", status == 0, "\n".join(_offenders(output)))


async def _wait_until_quiet(shop: FaultTarget, crowd: Crowd, verdict: Verdict, limit: float, quiet: float) -> None:
    """Waits until nothing has been waiting and no page has received an order frame for `quiet` seconds."""
    began = last_waiting_at = time.monotonic()
    last_waiting: object = None
    while True:
        if waiting := await shop.stores.waiting():
            last_waiting, last_waiting_at = waiting, time.monotonic()
        now, last_toast_at = time.monotonic(), max(crowd.toast_times(), default=began)
        if now - max(last_waiting_at, last_toast_at) >= quiet or now - began > limit + quiet:
            break
        await asyncio.sleep(0.5)
    found = (
        f"{last_waiting} waited {now - last_waiting_at:.0f} s ago; "
        f"the last order frame was sent {now - last_toast_at:.0f} s ago"
    )
    verdict.expect("nothing-waiting", now - max(last_waiting_at, last_toast_at) >= quiet, found)


def _offenders(output: str) -> list[str]:
    return [line for line in output.splitlines() if "OFFENDERS" in line or line.startswith("    ")]


async def _check_customer(shop: FaultTarget, customer: Customer, verdict: Verdict) -> None:
    user_id = customer.user_id
    try:
        async with asyncio.timeout(READ_SECONDS):
            orders = await read_all_items(shop.session, shop.url, "/api/orders", user_id)
            entries = await read_all_items(shop.session, shop.url, "/api/payments/account/entries", user_id)
    except TimeoutError:
        verdict.expect(
            "answer-kept", False, f"{user_id}: orders and entries could not be read within {READ_SECONDS} s"
        )
        return
    except UnexplainedResponse as error:
        verdict.expect("answer-explained", False, str(error))
        return
    _check_stored(
        user_id, "orders", {d.id for d in customer.orders if d.id}, {order["id"] for order in orders}, verdict
    )
    top_ups = {entry["id"] for entry in entries if entry["kind"] == "top_up"}
    _check_stored(user_id, "top-ups", {d.id for d in customer.top_ups if d.id}, top_ups, verdict)
    _check_decisions(customer, orders, verdict)
    finished = Counter(order["id"] for order in orders if order["status"] == "FINISHED")
    debits = Counter(entry["order_id"] for entry in entries if entry["kind"] == "debit")
    verdict.expect("charged-once", finished == debits, f"{user_id}: {(debits - finished) + (finished - debits)}")
    _check_toasts(customer, orders, verdict)
    _check_reloads(customer, shop.wiped_at, verdict)


def _check_stored(user_id: str, kind: str, accepted: set[str], stored: set[str], verdict: Verdict) -> None:
    lost, unknown = sorted(accepted - stored), sorted(stored - accepted)
    verdict.expect("answer-kept", not lost, f"{user_id}: {kind} {lost[:3]} are missing")
    verdict.expect("key-honoured", not unknown, f"{user_id}: {kind} {unknown[:3]} are in no response")


def _check_decisions(customer: Customer, orders: list[dict[str, Any]], verdict: Verdict) -> None:
    paid = sum(order["status"] == "FINISHED" for order in orders)
    expected = len(orders) if customer.affords is None else min(len(orders), customer.affords)
    decided = all(order["status"] != "NEW" for order in orders)
    found = f"{customer.user_id}: {paid} of {len(orders)} orders are paid instead of {expected}"
    verdict.expect("decided-rightly", paid == expected or not decided, found)


def _check_toasts(customer: Customer, orders: list[dict[str, Any]], verdict: Verdict) -> None:
    statuses = {order["id"]: order["status"] for order in orders}
    for page in customer.pages:
        doubled = [toast for toast, times in page.toasts.items() if times > 1]
        verdict.expect("no-toast-doubled", not doubled, f"{page.user_id}: {doubled[:3]}")
        wrong = [toast for toast in page.toasts if statuses.get(toast.order_id) != toast.status]
        verdict.expect("toast-true", not wrong, f"{page.user_id}: {wrong[:3]}")


def _check_reloads(customer: Customer, wiped_at: list[float], verdict: Verdict) -> None:
    """A page may only reload its orders after a wipe of Redis that it was open for, once for each wipe."""
    for page in customer.pages:
        unwiped = f"{page.user_id}: had to reload its orders {page.gaps} times without a wipe of Redis"
        verdict.expect("no-toast-lost", not page.gaps, unwiped)
        wipes = sum(moment >= page.first_welcome_at for moment in wiped_at)
        changes = f"{page.user_id}: saw {page.epoch_changes} changes of the epoch and {wipes} wipes of Redis"
        verdict.expect("no-toast-lost", page.epoch_changes <= wipes, changes)
