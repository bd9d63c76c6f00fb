"""Notifiers that end, in order or not, while orders are placed: their pages go elsewhere and miss nothing."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection

from notifier.close_codes import RETRY_AFTER_MS
from notifier.close_codes import Close as Code
from notifier.hub import DRAIN_BATCH_SIZE, DRAIN_PAUSE_SECONDS
from notifier.streams import sockets_key
from tests.conftest import Shop
from tests.faults.conftest import all_ready, kill
from tests.faults.page import Close, Page
from tests.support import Caller, eventually, metric

USERS, WITH_TWO_PAGES = 40, 30
PAUSE = 0.05  # between two orders
HEALING = 60


class Crowd:
    """Users with their pages open, of whom one after another places an order."""

    def __init__(self, callers: list[Caller]) -> None:
        self.pages = [Page(caller) for caller in [*callers, *callers[:WITH_TWO_PAGES]]]
        self._callers = callers
        self._ordering: list[asyncio.Task[str]] = []
        self._enough = asyncio.Event()

    async def place_orders(self) -> None:
        for caller in cycle(self._callers):
            if self._enough.is_set():
                return
            self._ordering.append(asyncio.create_task(caller.order(100)))
            await asyncio.sleep(PAUSE)

    def stop_ordering(self) -> None:
        self._enough.set()

    def on(self, replica: str) -> list[Page]:
        return [page for page in self.pages if page.live_on == replica]

    async def all_live(self) -> None:
        async def every_page_is_live() -> bool:
            return all(page.live_on for page in self.pages)

        await eventually(every_page_is_live, HEALING)

    async def some_more_orders(self) -> None:
        """So that a restart has orders before, within and after it."""
        enough = len(self._ordering) + 40

        async def they_are_placed() -> bool:
            return len(self._ordering) >= enough

        await eventually(they_are_placed)

    async def missed_nothing(self) -> None:
        """Every page was shown the end of each order of its user once.

        Delivery is at least once, yet these pages never see one twice: a page names the last offset that it
        was shown, and is not given it again. A page would only be shown one twice if Redis lost its memory.
        """
        orders: dict[str, list[str]] = {}
        for order_id, caller in zip(await asyncio.gather(*self._ordering), cycle(self._callers), strict=False):
            orders.setdefault(caller.user_id, []).append(order_id)
        for caller in self._callers:
            ends = [await caller.decided(order_id, HEALING) for order_id in orders[caller.user_id]]
            assert {end["status"] for end in ends} == {"FINISHED"}
            expected = {(end["id"], end["version"]): end["status"] for end in ends}
            for page in self.pages:
                if page.caller is caller:
                    await _was_shown(page, expected)


async def _was_shown(page: Page, expected: dict[tuple[str, int], str]) -> None:
    async def as_many_as_expected() -> bool:
        return len(page.shown) >= len(expected)

    await eventually(as_many_as_expected, HEALING)
    times = Counter((shown.order["id"], shown.order["version"]) for shown in page.shown)
    assert times == dict.fromkeys(expected, 1)
    assert {(shown.order["id"], shown.order["version"]): shown.order["status"] for shown in page.shown} == expected
    offsets = [shown.offset for shown in page.shown]
    assert offsets == sorted(offsets)
    assert page.unrecovered == 0


@pytest.fixture
async def crowd(shop: Shop, session: aiohttp.ClientSession) -> AsyncGenerator[Crowd]:
    """With their accounts filled, their pages live and orders on the way."""
    callers = [Caller(session, shop.url) for _ in range(USERS)]
    await asyncio.gather(*(caller.open_account(1_000_000) for caller in callers))
    crowd = Crowd(callers)
    async with _at_work(*(page.run() for page in crowd.pages)):
        await crowd.all_live()
        async with _at_work(crowd.place_orders()):
            await crowd.some_more_orders()
            yield crowd
            crowd.stop_ordering()


@asynccontextmanager
async def _at_work(*work: Any) -> AsyncGenerator[None]:
    """Fails when one of them ended by an error of its own."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
        broken = [task.exception() for task in tasks if task.done()]
        assert not any(broken), broken
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def notifiers(shop: Shop) -> dict[str, str]:
    """Their addresses, by their names."""
    return {replica["name"]: replica["url"] for replica in shop.servers["replicas"]["notifier"]}


async def holds_every_page(shop: Shop, session: aiohttp.ClientSession, crowd: Crowd) -> None:
    """What the pages believe is what the replicas hold."""

    async def as_the_pages_say() -> bool:
        held = {name: await metric(session, url, "gozon_sockets") for name, url in notifiers(shop).items()}
        return held == {name: len(crowd.on(name)) for name in held}

    await crowd.all_live()
    await eventually(as_the_pages_say)


async def test_a_rolling_restart_of_all_notifiers_under_load_loses_nothing(
    shop: Shop, crowd: Crowd, session: aiohttp.ClientSession, redis: Redis
) -> None:
    took, paced = 0.0, 0.0
    for name in notifiers(shop):
        mine = crowd.on(name)
        before = {page: len(page.closes) for page in crowd.pages}
        await shop.supervisorctl("restart", name)
        await all_ready(shop, session)
        await crowd.all_live()
        await crowd.some_more_orders()

        closes = [page.closes[before[page] :] for page in mine]
        assert [len(of_page) for of_page in closes] == [1] * len(mine)
        assert all(len(page.closes) == before[page] for page in crowd.pages if page not in mine)
        took += spread([close for (close,) in closes])
        paced += (len(mine) - 1) // DRAIN_BATCH_SIZE * DRAIN_PAUSE_SECONDS
    crowd.stop_ordering()

    closes = [close for page in crowd.pages for close in page.closes]
    assert paced >= 3 * DRAIN_PAUSE_SECONDS, "there were never more sockets than one batch"
    assert took >= paced / 2
    assert {close.code for close in closes} == {Code.RESTARTING}
    hints = [close.hint for close in closes]
    assert all(hint is not None and within(hint, RETRY_AFTER_MS) for hint in hints), hints
    assert len(set(hints)) > len(hints) / 2, "they would all come back at the same time"
    assert [page.refusals for page in crowd.pages if page.refusals] == []

    await crowd.missed_nothing()
    await holds_every_page(shop, session, crowd)
    for user_id, pages in Counter(page.caller.user_id for page in crowd.pages).items():
        assert await redis.zcard(sockets_key(user_id)) == pages, "somebody who left is still on the list"


async def test_a_killed_notifier_loses_nothing_once_its_pages_are_back(
    shop: Shop, crowd: Crowd, session: aiohttp.ClientSession
) -> None:
    name = next(iter(notifiers(shop)))
    mine = crowd.on(name)
    assert mine
    await kill(shop, name)

    async def they_have_noticed() -> bool:
        return all(page.closes for page in mine)

    await eventually(they_have_noticed)
    await all_ready(shop, session)
    await crowd.all_live()
    await crowd.some_more_orders()
    crowd.stop_ordering()

    closes = [close for page in crowd.pages for close in page.closes]
    assert len(closes) == len(mine)
    assert {close.replica for close in closes} == {name}
    assert {close.code for close in closes} == {1006}, "it was killed, so it cannot have said anything"
    await crowd.missed_nothing()
    assert any(shown.missed for page in mine for shown in page.shown), "nothing happened while they were away"
    await holds_every_page(shop, session, crowd)


async def test_a_client_who_comes_while_a_replica_drains_is_let_in_by_another_and_notices_nothing(
    shop: Shop, session: aiohttp.ClientSession
) -> None:
    name, url = next(iter(notifiers(shop).items()))
    others = [Caller(session, shop.url) for _ in range(60)]
    # Past nginx, so that the replica that will drain has the fewest sockets there and is asked first.
    connected = await asyncio.gather(*(other.connect(url, origin=shop.url) for other in others for _ in range(8)))
    ticket = {other.user_id: await other.ticket() for other in others}

    restarting = asyncio.create_task(shop.supervisorctl("restart", name))

    async def the_first_are_sent_away() -> bool:
        return any(connection.close_code is not None for connection in connected)

    await eventually(the_first_are_sent_away)
    asked, let_in = 0.0, 0
    for other in others:
        connection = await other.connect(ticket=ticket[other.user_id])
        refused = await refusals(session, url)
        if not drains(connected):
            break  # from here on nobody knows who was asked
        asked, let_in = refused, let_in + 1
        assert (await welcome_of(connection))["replica"] != name
    await restarting

    assert asked >= 1, "the replica that drained was never asked"
    assert let_in >= asked
    assert {connection.close_code for connection in connected} == {Code.RESTARTING}


def drains(connected: list[ClientConnection]) -> bool:
    return any(connection.close_code is None for connection in connected)


async def refusals(session: aiohttp.ClientSession, url: str) -> float:
    try:
        return await metric(session, url, 'gozon_sockets_refused_total{status="503"}')
    except aiohttp.ClientError:
        return 0.0


async def welcome_of(connection: ClientConnection) -> dict[str, Any]:
    return json.loads(await connection.recv())


def spread(closes: list[Close]) -> float:
    times = [close.at for close in closes]
    return max(times) - min(times) if times else 0.0


def within(number: int, ends: tuple[int, int]) -> bool:
    return ends[0] <= number <= ends[1]
