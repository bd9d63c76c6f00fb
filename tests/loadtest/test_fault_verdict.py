"""The verdict of a fault trial is given histories in which one thing is wrong, and names that and nothing else."""

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

from loadtest.faults.closes import unpaced
from loadtest.faults.contents import Contents
from loadtest.faults.customers import Crowd, Customer
from loadtest.faults.page import PageUnderFaults, Toast
from loadtest.faults.place import InjectedFault, NotHappened
from loadtest.faults.report import words
from loadtest.faults.trial import Trial, inflicted
from loadtest.faults.verdict import INVARIANTS, Verdict, final, healed

LIMIT, QUIET = 0.2, 0.05
ANN, ORDER, TOP_UP = "ann", "order-1", "top-up-1"
END = Toast("redis-1", ORDER, 2, "FINISHED")


class World(Contents):
    """One customer with a page, an order and a top-up, and the shop as it is when all is well."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session
        self.contents: Contents = self
        self.wiped_at: list[float] = []
        self.fault = InjectedFault[World]("a fault", nothing_goes_wrong)
        self.ready = True
        self.listing = 200
        self.orders = [{"id": ORDER, "status": "FINISHED"}]
        self.entries = [{"id": TOP_UP, "kind": "top_up"}, {"kind": "debit", "order_id": ORDER}]
        self.lies: dict[str, int] = {}
        self.when_asked: Callable[[], None] = lambda: None
        self.books: tuple[int, str] = 0, ""
        self.page = PageUnderFaults(session, url, ANN)
        self.page.told, self.page.came_at = {ORDER}, time.monotonic()
        self.page.toasts[END] = 1
        self.customer = Customer(ANN, None, [self.page])
        self.order, self.top_up = self.customer.order(), self.customer.top_up(100)
        for deed, given in ((self.order, ORDER), (self.top_up, TOP_UP)):
            deed.id, deed.answered_at = given, time.monotonic()
        self.crowd = Crowd(session, url, Random(1))  # noqa: S311
        self.crowd.customers.append(self.customer)
        self.crowd.trading.append(self.customer)

    async def well(self) -> bool:
        return self.ready

    async def statuses(self, order_ids: list[str]) -> dict[str, str]:
        return {order["id"]: order["status"] for order in self.orders if order["id"] in order_ids}

    async def waiting(self) -> dict[str, int]:
        self.when_asked()
        return self.lies

    async def audit(self) -> tuple[int, str]:
        return self.books

    async def judged(self) -> Verdict:
        verdict = Verdict()
        await inflicted(self.fault, self, Random(1), verdict)  # noqa: S311
        await healed(self, self.crowd, verdict, LIMIT, [self.order, self.top_up])
        await final(self, self.crowd, verdict, LIMIT, QUIET)
        return verdict


async def nothing_goes_wrong(world: World, random: Random) -> str:
    return "done"


@pytest.fixture
async def world(session: aiohttp.ClientSession) -> AsyncGenerator[World]:
    async def listed(request: web.Request) -> web.Response:
        items = world.orders if request.path == "/api/orders" else world.entries
        return web.json_response({"items": items, "next_cursor": None}, status=world.listing)

    async def answered(request: web.Request) -> web.Response:
        return web.Response(status=201, text="not JSON", content_type="application/json")

    app = web.Application()
    app.router.add_get("/api/orders", listed)
    app.router.add_get("/api/payments/account/entries", listed)
    app.router.add_post("/{path:.*}", answered)
    async with TestServer(app) as server:
        world = World(str(server.make_url("")).rstrip("/"), session)
        yield world
        await world.crowd.leave()


async def test_a_good_history_is_green_and_every_invariant_was_looked_at(world: World) -> None:
    verdict = await world.judged()
    assert verdict.broken == {}
    # How sockets are closed is only seen on a swarm.
    assert verdict.judged == set(INVARIANTS) - {"sockets-paced"}


def does_nothing(world: World) -> None:
    async def raises(world: World, random: Random) -> str:
        raise NotHappened("it does not run")

    world.fault = InjectedFault("kill it", raises)


def dies_of_itself(world: World) -> None:
    async def raises(world: World, random: Random) -> str:
        raise RuntimeError("docker failed")

    world.fault = InjectedFault("kill it", raises)


def accepts_nothing_new(world: World) -> None:
    world.top_up.answered_at = 0.0


def decides_never(world: World) -> None:
    world.orders[0]["status"] = "NEW"
    del world.entries[1]
    world.page.toasts.clear()


def decides_wrongly(world: World) -> None:
    world.orders[0]["status"] = "CANCELLED"
    del world.entries[1]
    world.page.toasts = type(world.page.toasts)({END._replace(status="CANCELLED"): 1})


def charges_twice(world: World) -> None:
    world.entries.append(world.entries[1])


def charges_nobody(world: World) -> None:
    del world.entries[1]


def forgets_an_order(world: World) -> None:
    world.orders.clear()
    del world.entries[1]
    world.page.toasts.clear()


def forgets_a_top_up(world: World) -> None:
    del world.entries[0]


def does_twice_what_was_asked_once(world: World) -> None:
    world.orders.append({"id": "order-2", "status": "FINISHED"})
    world.entries.append({"kind": "debit", "order_id": "order-2"})


def answers_a_key_in_two_ways(world: World) -> None:
    world.order.others = ["order-2"]


def answers_with_something_else(world: World) -> None:
    world.order.surprises = ["/api/orders: 500"]


def lists_with_an_error(world: World) -> None:
    world.listing = 500


def says_what_ends_its_customer(world: World) -> None:
    world.crowd.ask_anew()
    # Neither of the two has an id, so nothing of them is missed.


def tells_nobody(world: World) -> None:
    world.page.told.clear()


def misses_something_with_redis_kept(world: World) -> None:
    world.page.gaps = 1


def loses_redis_by_itself(world: World) -> None:
    world.page.epochs_left = 1


def loses_redis_twice_for_one_wipe(world: World) -> None:
    world.page.epochs_left = 2
    world.wiped_at.append(world.page.came_at + 1)


def loses_redis_after_the_wipe(world: World) -> None:
    """Only who was there when Redis was wiped may be told to read its orders."""
    world.page.epochs_left = 1
    world.wiped_at.append(world.page.came_at - 1)


def tells_twice(world: World) -> None:
    world.page.toasts[END] = 2


def tells_twice_at_last(world: World) -> None:
    """What still waited is judged as well."""
    world.lies = {"notifier.order-status": 1}

    def then() -> None:
        world.page.toasts[END] = 2
        world.lies = {}

    world.when_asked = lambda: asyncio.get_running_loop().call_later(0.1, then) and None


def tells_what_is_not_so(world: World) -> None:
    world.page.toasts = type(world.page.toasts)({END._replace(status="CANCELLED"): 1})


def lacks_a_replica(world: World) -> None:
    world.ready = False


def leaves_something_lying(world: World) -> None:
    world.lies = {"orders: outbox": 3}


def tells_without_end(world: World) -> None:
    world.page.told_at.append(time.monotonic() + 1000)


def is_out_of_balance(world: World) -> None:
    world.books = 1, "OFFENDERS of balance\n    ann"


@pytest.mark.parametrize(
    ("invariant", "spoil"),
    [
        ("fault-happened", does_nothing),
        ("fault-happened", dies_of_itself),
        ("accepts-again", accepts_nothing_new),
        ("order-decided", decides_never),
        ("decided-rightly", decides_wrongly),
        ("charged-once", charges_twice),
        ("charged-once", charges_nobody),
        ("answer-kept", forgets_an_order),
        ("answer-kept", forgets_a_top_up),
        ("key-honoured", does_twice_what_was_asked_once),
        ("key-honoured", answers_a_key_in_two_ways),
        ("answer-explained", answers_with_something_else),
        ("answer-explained", lists_with_an_error),
        ("answer-explained", says_what_ends_its_customer),
        ("no-toast-lost", tells_nobody),
        ("no-toast-lost", misses_something_with_redis_kept),
        ("no-toast-lost", loses_redis_by_itself),
        ("no-toast-lost", loses_redis_twice_for_one_wipe),
        ("no-toast-lost", loses_redis_after_the_wipe),
        ("no-toast-doubled", tells_twice),
        ("no-toast-doubled", tells_twice_at_last),
        ("toast-true", tells_what_is_not_so),
        ("ready-again", lacks_a_replica),
        ("nothing-waiting", leaves_something_lying),
        ("nothing-waiting", tells_without_end),
        ("books", is_out_of_balance),
    ],
    ids=lambda given: getattr(given, "__name__", given),
)
async def test_what_is_wrong_is_named(world: World, invariant: str, spoil: Callable[[World], None]) -> None:
    spoil(world)
    verdict = await world.judged()
    assert list(verdict.broken) == [invariant], json.dumps(verdict.broken, indent=1)


async def test_a_wipe_excuses_whoever_was_there(world: World) -> None:
    world.page.epochs_left = 1
    world.wiped_at.append(world.page.came_at + 1)
    assert (await world.judged()).broken == {}


def test_sockets_that_nobody_closed_were_not_closed_a_few_at_a_time() -> None:
    assert unpaced({})


async def test_what_cannot_be_read_in_the_end_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.faults.verdict.READ_SECONDS", 0.5)
    world.url = "http://127.0.0.1:1"  # where nobody listens
    assert list((await world.judged()).broken) == ["answer-kept"]


async def test_a_trial_that_is_ended_still_says_what_it_has_seen(session: aiohttp.ClientSession) -> None:
    world: Any = World("http://127.0.0.1:1", session)  # where nobody listens
    trial = asyncio.create_task(Trial[World](world, seed=1).run([world.fault]))
    await asyncio.sleep(0.1)
    trial.cancel()
    outcome = await trial
    assert outcome.error
    assert (outcome.planned, outcome.happenings, outcome.judged) == (1, [], set())


async def test_a_fault_after_which_nobody_can_look_is_in_the_report(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def undecided(_: World) -> int:
        return 3

    async def nobody_answers(_: World, order_ids: list[str]) -> dict[str, str]:
        raise OSError(f"no database, and {len(order_ids)} orders")

    async def there_already(_: Crowd) -> None: ...

    monkeypatch.setattr(World, "undecided", undecided)
    monkeypatch.setattr(World, "statuses", nobody_answers)
    monkeypatch.setattr(Crowd, "gather", there_already)
    world: Any = World("http://127.0.0.1:1", session)  # where nobody listens

    def here(*_: object) -> Crowd:
        return world.crowd

    monkeypatch.setattr("loadtest.faults.trial.Crowd", here)
    does_nothing(world)
    outcome = await Trial[World](world, seed=1, brief=True).run([world.fault])
    [happening] = outcome.happenings
    assert (happening.in_flight, happening.left, happening.healed_after) == (3, -1, inf)
    assert list(happening.broken) == ["fault-happened", "ready-again"]
    assert outcome.names == ["fault-happened", "ready-again"]
    assert "no database" in words(outcome)
