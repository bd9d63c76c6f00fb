"""Pages of restarted or killed notifiers reconnect to other replicas and miss no order."""

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
ORDER_PAUSE_SECONDS = 0.05
HEALING_SECONDS = 60


class Crowd:
    """Users with open pages who place orders in turn."""

    def __init__(self, callers: list[Caller]) -> None:
        self.pages = [Page(caller) for caller in [*callers, *callers[:WITH_TWO_PAGES]]]
        self._callers = callers
        self._ordering: list[asyncio.Task[str]] = []
        self._stopped = asyncio.Event()

    async def place_orders(self) -> None:
        for caller in cycle(self._callers):
            if self._stopped.is_set():
                return
            self._ordering.append(asyncio.create_task(caller.order(100)))
            await asyncio.sleep(ORDER_PAUSE_SECONDS)

    def stop_ordering(self) -> None:
        self._stopped.set()

    def pages_on(self, replica: str) -> list[Page]:
        return [page for page in self.pages if page.live_on == replica]

    async def all_live(self) -> None:
        async def every_page_is_live() -> bool:
            return all(page.live_on for page in self.pages)

        await eventually(every_page_is_live, HEALING_SECONDS)

    async def more_orders(self) -> None:
        """Waits for 40 more orders, so that there are orders before, during and after a restart."""
        target = len(self._ordering) + 40

        async def they_are_placed() -> bool:
            return len(self._ordering) >= target

        await eventually(they_are_placed)

    async def check_nothing_missed(self) -> None:
        """Checks that every page has received the final status of each order of its user exactly once.

        Delivery is at least once, but these pages receive no duplicates: a page that reconnects names its last
        offset and gets only later frames. Duplicates would need a Redis that lost its data.
        """
        orders: dict[str, list[str]] = {}
        for order_id, caller in zip(await asyncio.gather(*self._ordering), cycle(self._callers), strict=False):
            orders.setdefault(caller.user_id, []).append(order_id)
        for caller in self._callers:
            ends = [await caller.decided(order_id, HEALING_SECONDS) for order_id in orders[caller.user_id]]
            assert {end["status"] for end in ends} == {"FINISHED"}
            expected = {(end["id"], end["version"]): end["status"] for end in ends}
            for page in self.pages:
                if page.caller is caller:
                    await _check_shown(page, expected)


async def _check_shown(page: Page, expected: dict[tuple[str, int], str]) -> None:
    async def as_many_as_expected() -> bool:
        return len(page.shown) >= len(expected)

    await eventually(as_many_as_expected, HEALING_SECONDS)
    times = Counter((shown.order["id"], shown.order["version"]) for shown in page.shown)
    assert times == dict.fromkeys(expected, 1)
    assert {(shown.order["id"], shown.order["version"]): shown.order["status"] for shown in page.shown} == expected
    offsets = [shown.offset for shown in page.shown]
    assert offsets == sorted(offsets)
    assert page.unrecovered == 0


@pytest.fixture
async def crowd(shop: Shop, session: aiohttp.ClientSession) -> AsyncGenerator[Crowd]:
    """A crowd with filled accounts and live pages that is placing orders."""
    callers = [Caller(session, shop.url) for _ in range(USERS)]
    await asyncio.gather(*(caller.open_account(1_000_000) for caller in callers))
    crowd = Crowd(callers)
    async with _running(*(page.run() for page in crowd.pages)):
        await crowd.all_live()
        async with _running(crowd.place_orders()):
            await crowd.more_orders()
            yield crowd
            crowd.stop_ordering()


@asynccontextmanager
async def _running(*work: Any) -> AsyncGenerator[None]:
    """Runs the coroutines during the block. Fails if one of them raised an error."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        yield
        errors = [task.exception() for task in tasks if task.done()]
        assert not any(errors), errors
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def notifiers(shop: Shop) -> dict[str, str]:
    """Returns the URL of each notifier replica by its name."""
    return {replica["name"]: replica["url"] for replica in shop.servers["replicas"]["notifier"]}


async def check_socket_counts(shop: Shop, session: aiohttp.ClientSession, crowd: Crowd) -> None:
    """Waits until the sockets that replicas count are those that pages hold."""

    async def counts_agree() -> bool:
        held = {name: await metric(session, url, "gozon_sockets") for name, url in notifiers(shop).items()}
        return held == {name: len(crowd.pages_on(name)) for name in held}

    await crowd.all_live()
    await eventually(counts_agree)


async def test_a_rolling_restart_of_all_notifiers_under_load_loses_nothing(
    shop: Shop, crowd: Crowd, session: aiohttp.ClientSession, redis: Redis
) -> None:
    duration, minimum = 0.0, 0.0
    for name in notifiers(shop):
        mine = crowd.pages_on(name)
        before = {page: len(page.closes) for page in crowd.pages}
        await shop.supervisorctl("restart", name)
        await all_ready(shop, session)
        await crowd.all_live()
        await crowd.more_orders()

        closes = [page.closes[before[page] :] for page in mine]
        assert [len(of_page) for of_page in closes] == [1] * len(mine)
        assert all(len(page.closes) == before[page] for page in crowd.pages if page not in mine)
        duration += spread([close for (close,) in closes])
        minimum += (len(mine) - 1) // DRAIN_BATCH_SIZE * DRAIN_PAUSE_SECONDS
    crowd.stop_ordering()

    closes = [close for page in crowd.pages for close in page.closes]
    assert minimum >= 3 * DRAIN_PAUSE_SECONDS, "there were too few sockets for several batches"
    assert duration >= minimum / 2
    assert {close.code for close in closes} == {Code.RESTARTING}
    hints = [close.hint for close in closes]
    assert all(hint is not None and within(hint, RETRY_AFTER_MS) for hint in hints), hints
    assert len(set(hints)) > len(hints) / 2, "the pages would all reconnect at the same time"
    assert [page.refusals for page in crowd.pages if page.refusals] == []

    await crowd.check_nothing_missed()
    await check_socket_counts(shop, session, crowd)
    for user_id, pages in Counter(page.caller.user_id for page in crowd.pages).items():
        assert await redis.zcard(sockets_key(user_id)) == pages, "Redis still lists a closed socket"


async def test_a_killed_notifier_loses_nothing_once_its_pages_are_back(
    shop: Shop, crowd: Crowd, session: aiohttp.ClientSession
) -> None:
    name = next(iter(notifiers(shop)))
    mine = crowd.pages_on(name)
    assert mine
    await kill(shop, name)

    async def their_sockets_are_closed() -> bool:
        return all(page.closes for page in mine)

    await eventually(their_sockets_are_closed)
    await all_ready(shop, session)
    await crowd.all_live()
    await crowd.more_orders()
    crowd.stop_ordering()

    closes = [close for page in crowd.pages for close in page.closes]
    assert len(closes) == len(mine)
    assert {close.replica for close in closes} == {name}
    assert {close.code for close in closes} == {1006}, "a killed replica cannot send a close frame"
    await crowd.check_nothing_missed()
    assert any(shown.missed for page in mine for shown in page.shown), "no order ended between close and reconnect"
    await check_socket_counts(shop, session, crowd)


async def test_a_client_that_connects_while_a_replica_drains_gets_a_socket_on_another(
    shop: Shop, session: aiohttp.ClientSession
) -> None:
    name, url = next(iter(notifiers(shop).items()))
    others = [Caller(session, shop.url) for _ in range(60)]
    # Directly to the replica. nginx does not count these sockets, so it tries this replica first (least_conn).
    connected = await asyncio.gather(*(other.connect(url, origin=shop.url) for other in others for _ in range(8)))
    ticket = {other.user_id: await other.ticket() for other in others}

    restarting = asyncio.create_task(shop.supervisorctl("restart", name))

    async def drain_has_begun() -> bool:
        return any(connection.close_code is not None for connection in connected)

    await eventually(drain_has_begun)
    refused, connected_elsewhere = 0.0, 0
    for other in others:
        connection = await other.connect(ticket=ticket[other.user_id])
        refused_so_far = await refusals(session, url)
        if not drains(connected):
            break  # the replica has drained, and can accept sockets again after its restart
        refused, connected_elsewhere = refused_so_far, connected_elsewhere + 1
        assert (await welcome_of(connection))["replica"] != name
    await restarting

    assert refused >= 1, "nginx never tried the draining replica"
    assert connected_elsewhere >= refused
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
