"""The checks of a fault trial, given a history with one violation, report exactly the broken invariant."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from math import inf
from random import Random
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.faults.customers import Crowd, Customer
from loadtest.faults.page import PageUnderFaults, Toast
from loadtest.faults.report import as_text
from loadtest.faults.socket_closes import pacing_errors
from loadtest.faults.stores import ServersUnderFaults
from loadtest.faults.target import FaultNotInjected, InjectedFault
from loadtest.faults.trial import Trial, inflict
from loadtest.faults.verdict import INVARIANTS, Verdict, check_end, wait_until_healed

LIMIT, QUIET = 0.2, 0.05
ANN, ORDER, TOP_UP = "ann", "order-1", "top-up-1"
END = Toast("redis-1", ORDER, 2, "FINISHED")


class World(ServersUnderFaults):
    """A healthy shop with one customer, who has a page, an order and a top-up."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session
        self.stores: ServersUnderFaults = self
        self.wiped_at: list[float] = []
        self.fault = InjectedFault[World]("a fault", nothing_goes_wrong)
        self.ready = True
        self.listing = 200
        self.orders = [{"id": ORDER, "status": "FINISHED"}]
        self.entries = [{"id": TOP_UP, "kind": "top_up"}, {"kind": "debit", "order_id": ORDER}]
        self.waiting_counts: dict[str, int] = {}
        self.on_waiting_read: Callable[[], None] = lambda: None
        self.books: tuple[int, str] = 0, ""
        self.page = PageUnderFaults(session, url, ANN)
        self.page.shown, self.page.first_welcome_at = {ORDER}, time.monotonic()
        self.page.toasts[END] = 1
        self.customer = Customer(ANN, None, [self.page])
        self.order, self.top_up = self.customer.order(), self.customer.top_up(100)
        for request, response_id in ((self.order, ORDER), (self.top_up, TOP_UP)):
            request.id, request.answered_at = response_id, time.monotonic()
        self.crowd = Crowd(session, url, Random(1))  # noqa: S311
        self.crowd.customers.append(self.customer)
        self.crowd.trading.append(self.customer)

    async def all_ready(self) -> bool:
        return self.ready

    async def statuses(self, order_ids: list[str]) -> dict[str, str]:
        return {order["id"]: order["status"] for order in self.orders if order["id"] in order_ids}

    async def waiting(self) -> dict[str, int]:
        self.on_waiting_read()
        return self.waiting_counts

    async def audit(self) -> tuple[int, str]:
        return self.books

    async def judged(self) -> Verdict:
        verdict = Verdict()
        await inflict(self.fault, self, Random(1), verdict)  # noqa: S311
        await wait_until_healed(self, self.crowd, verdict, LIMIT, [self.order, self.top_up])
        await check_end(self, self.crowd, verdict, LIMIT, QUIET)
        return verdict


async def nothing_goes_wrong(world: World, random: Random) -> str:
    return "done"


@pytest.fixture
async def world(session: aiohttp.ClientSession) -> AsyncGenerator[World]:
    async def listed(request: web.Request) -> web.Response:
        items = world.orders if request.path == "/api/orders" else world.entries
        return web.json_response({"items": items, "next_cursor": None}, status=world.listing)

    async def accepted(request: web.Request) -> web.Response:
        return web.Response(status=201, text="not JSON", content_type="application/json")

    app = web.Application()
    app.router.add_get("/api/orders", listed)
    app.router.add_get("/api/payments/account/entries", listed)
    app.router.add_post("/{path:.*}", accepted)
    async with TestServer(app) as server:
        world = World(str(server.make_url("")).rstrip("/"), session)
        yield world
        await world.crowd.leave()


async def test_a_history_without_errors_passes_every_check(world: World) -> None:
    verdict = await world.judged()
    assert verdict.broken == {}
    # Only a trial on a swarm checks how sockets are closed.
    assert verdict.judged == set(INVARIANTS) - {"sockets-paced"}


def fault_has_no_effect(world: World) -> None:
    async def raises(world: World, random: Random) -> str:
        raise FaultNotInjected("it does not run")

    world.fault = InjectedFault("kill it", raises)


def fault_raises_an_error(world: World) -> None:
    async def raises(world: World, random: Random) -> str:
        raise RuntimeError("docker failed")

    world.fault = InjectedFault("kill it", raises)


def does_not_accept_the_probes(world: World) -> None:
    world.top_up.answered_at = 0.0


def never_decides_an_order(world: World) -> None:
    world.orders[0]["status"] = "NEW"
    del world.entries[1]
    world.page.toasts.clear()


def cancels_an_order_with_money(world: World) -> None:
    world.orders[0]["status"] = "CANCELLED"
    del world.entries[1]
    world.page.toasts = type(world.page.toasts)({END._replace(status="CANCELLED"): 1})


def charges_an_order_twice(world: World) -> None:
    world.entries.append(world.entries[1])


def does_not_charge_a_paid_order(world: World) -> None:
    del world.entries[1]


def loses_an_order(world: World) -> None:
    world.orders.clear()
    del world.entries[1]
    world.page.toasts.clear()


def loses_a_top_up(world: World) -> None:
    del world.entries[0]


def creates_two_orders_for_one_request(world: World) -> None:
    world.orders.append({"id": "order-2", "status": "FINISHED"})
    world.entries.append({"kind": "debit", "order_id": "order-2"})


def names_two_ids_for_one_key(world: World) -> None:
    world.order.conflicting_ids = ["order-2"]


def responds_with_500(world: World) -> None:
    world.order.unexplained = ["/api/orders: 500"]


def lists_respond_with_500(world: World) -> None:
    world.listing = 500


def sends_invalid_json_to_a_customer(world: World) -> None:
    world.crowd.start_probes()
    # Neither request gets an id, so no other invariant is broken.


def sends_no_toast(world: World) -> None:
    world.page.shown.clear()


def has_a_gap_without_a_wipe(world: World) -> None:
    world.page.gaps = 1


def changes_the_epoch_without_a_wipe(world: World) -> None:
    world.page.epoch_changes = 1


def changes_the_epoch_twice_for_one_wipe(world: World) -> None:
    world.page.epoch_changes = 2
    world.wiped_at.append(world.page.first_welcome_at + 1)


def changes_the_epoch_of_a_page_opened_after_the_wipe(world: World) -> None:
    """Only a page that was open during the wipe may have to reload its orders."""
    world.page.epoch_changes = 1
    world.wiped_at.append(world.page.first_welcome_at - 1)


def sends_a_toast_twice(world: World) -> None:
    world.page.toasts[END] = 2


def sends_a_toast_again_while_the_trial_waits(world: World) -> None:
    """The check counts toasts that were still waiting when it began."""
    world.waiting_counts = {"notifier.order-status": 1}

    def send_again() -> None:
        world.page.toasts[END] = 2
        world.waiting_counts = {}

    world.on_waiting_read = lambda: asyncio.get_running_loop().call_later(0.1, send_again) and None


def sends_a_toast_with_a_wrong_status(world: World) -> None:
    world.page.toasts = type(world.page.toasts)({END._replace(status="CANCELLED"): 1})


def has_a_replica_that_is_not_ready(world: World) -> None:
    world.ready = False


def leaves_rows_in_an_outbox(world: World) -> None:
    world.waiting_counts = {"orders: outbox": 3}


def sends_toasts_without_end(world: World) -> None:
    world.page.toast_times.append(time.monotonic() + 1000)


def has_an_error_in_the_audit(world: World) -> None:
    world.books = 1, "OFFENDERS of balance\n    ann"


@pytest.mark.parametrize(
    ("invariant", "spoil"),
    [
        ("fault-happened", fault_has_no_effect),
        ("fault-happened", fault_raises_an_error),
        ("accepts-again", does_not_accept_the_probes),
        ("order-decided", never_decides_an_order),
        ("decided-rightly", cancels_an_order_with_money),
        ("charged-once", charges_an_order_twice),
        ("charged-once", does_not_charge_a_paid_order),
        ("answer-kept", loses_an_order),
        ("answer-kept", loses_a_top_up),
        ("key-honoured", creates_two_orders_for_one_request),
        ("key-honoured", names_two_ids_for_one_key),
        ("answer-explained", responds_with_500),
        ("answer-explained", lists_respond_with_500),
        ("answer-explained", sends_invalid_json_to_a_customer),
        ("no-toast-lost", sends_no_toast),
        ("no-toast-lost", has_a_gap_without_a_wipe),
        ("no-toast-lost", changes_the_epoch_without_a_wipe),
        ("no-toast-lost", changes_the_epoch_twice_for_one_wipe),
        ("no-toast-lost", changes_the_epoch_of_a_page_opened_after_the_wipe),
        ("no-toast-doubled", sends_a_toast_twice),
        ("no-toast-doubled", sends_a_toast_again_while_the_trial_waits),
        ("toast-true", sends_a_toast_with_a_wrong_status),
        ("ready-again", has_a_replica_that_is_not_ready),
        ("nothing-waiting", leaves_rows_in_an_outbox),
        ("nothing-waiting", sends_toasts_without_end),
        ("books", has_an_error_in_the_audit),
    ],
    ids=lambda parameter: getattr(parameter, "__name__", parameter),
)
async def test_a_violation_breaks_exactly_its_invariant(
    world: World, invariant: str, spoil: Callable[[World], None]
) -> None:
    spoil(world)
    verdict = await world.judged()
    assert list(verdict.broken) == [invariant], json.dumps(verdict.broken, indent=1)


async def test_a_page_that_was_open_during_a_wipe_may_reload(world: World) -> None:
    world.page.epoch_changes = 1
    world.wiped_at.append(world.page.first_welcome_at + 1)
    assert (await world.judged()).broken == {}


def test_no_closed_socket_is_a_pacing_error() -> None:
    assert pacing_errors({})


async def test_orders_that_cannot_be_read_count_as_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.faults.verdict.READ_SECONDS", 0.5)
    world.url = "http://127.0.0.1:1"  # no server listens there
    assert list((await world.judged()).broken) == ["answer-kept"]


async def test_a_cancelled_trial_returns_an_outcome(session: aiohttp.ClientSession) -> None:
    world: Any = World("http://127.0.0.1:1", session)  # no server listens there
    trial = asyncio.create_task(Trial[World](world, seed=1).run([world.fault]))
    await asyncio.sleep(0.1)
    trial.cancel()
    outcome = await trial
    assert outcome.error
    assert (outcome.planned, outcome.happenings, outcome.judged) == (1, [], set())


async def test_a_fault_after_which_the_shop_cannot_be_checked_is_in_the_report(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def undecided(_: World) -> int:
        return 3

    async def unavailable(_: World, order_ids: list[str]) -> dict[str, str]:
        raise OSError(f"no database, and {len(order_ids)} orders")

    async def already_gathered(_: Crowd) -> None: ...

    monkeypatch.setattr(World, "undecided", undecided)
    monkeypatch.setattr(World, "statuses", unavailable)
    monkeypatch.setattr(Crowd, "gather", already_gathered)
    world: Any = World("http://127.0.0.1:1", session)  # no server listens there

    def crowd_of_world(*_: object) -> Crowd:
        return world.crowd

    monkeypatch.setattr("loadtest.faults.trial.Crowd", crowd_of_world)
    fault_has_no_effect(world)
    outcome = await Trial[World](world, seed=1, brief=True).run([world.fault])
    [happening] = outcome.happenings
    assert (happening.in_flight, happening.left, happening.healed_after) == (3, -1, inf)
    assert list(happening.broken) == ["fault-happened", "ready-again"]
    assert outcome.names == ["fault-happened", "ready-again"]
    assert "no database" in as_text(outcome)
