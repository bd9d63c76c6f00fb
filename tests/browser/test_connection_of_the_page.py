"""The page and its socket when replicas stop, the network is lost, or Redis loses data."""

import aiohttp
import pytest
from playwright.async_api import WebSocketRoute, expect
from redis.asyncio import Redis

from notifier.streams import meta_key, stream_key
from tests.browser.visitor import Visitor
from tests.conftest import Shop
from tests.faults.conftest import all_ready, kill
from tests.support import ROOT, Caller, eventually


@pytest.fixture
async def customer(visitor: Visitor, caller: Caller) -> Caller:
    """The API client of the user who is at the page, with an account."""
    await caller.open_account(100_000)
    await visitor.enter(caller.user_id)
    return caller


async def test_an_open_page_loses_no_toast_when_its_notifier_is_stopped_or_killed(
    visitor: Visitor, customer: Caller, shop: Shop, session: aiohttp.ClientSession
) -> None:
    replica = await visitor.replica()
    await shop.supervisorctl("stop", replica)  # a regular stop first: the page gets a retry delay
    await customer.decided(await customer.order(100, "while it drained"))
    await visitor.sees_toast("Order paid", "while it drained")
    await visitor.live()
    await shop.supervisorctl("start", replica)
    await all_ready(shop, session)

    await kill(shop, await visitor.replica())
    await customer.decided(await customer.order(100, "while it was dead"))
    await visitor.sees_toast("Order paid", "while it was dead")
    await visitor.live()
    await all_ready(shop, session)
    await customer.order(100, "afterwards")
    await visitor.sees_toast("Order paid", "afterwards")
    for description in ("while it drained", "while it was dead", "afterwards"):
        assert await visitor.toasts_about(description) == 1
    await visitor.sees_balance("₽997.00")


async def test_a_frame_of_an_unknown_type_changes_nothing(visitor: Visitor, caller: Caller) -> None:
    unknown = (ROOT / "tests" / "contracts" / "unknown_frame.json").read_text()

    def push_more(socket: WebSocketRoute) -> None:
        def pushed(message: str | bytes) -> None:
            socket.send(message)
            socket.send(unknown)

        socket.connect_to_server().on_message(pushed)

    await visitor.page.route_web_socket("**/ws*", push_more)
    await caller.open_account(100_000)
    await visitor.enter(caller.user_id)
    for description in ("the first", "the second"):
        await caller.order(100, description)
        await visitor.sees_toast("Order paid", description)
    await visitor.live()
    assert await visitor.sockets_opened() == 1
    assert visitor.console_errors == []


async def test_a_page_that_was_offline_catches_up(visitor: Visitor, caller: Caller) -> None:
    # At 127.0.0.1 the page ignores that the browser is offline (isOnline in useConnection.ts).
    visitor.url = visitor.url.replace("127.0.0.1", "gozon.localhost")
    await caller.open_account(100_000)
    await visitor.enter(caller.user_id)
    context = visitor.page.context
    await context.set_offline(True)
    await expect(visitor.part("connection")).to_have_text("Offline: no network")
    await visitor.screenshot("offline")
    await caller.decided(await caller.order(100, "meanwhile"))
    await visitor.order("1", "in vain")
    await expect(visitor.page.get_by_role("alert")).to_contain_text("The shop cannot be reached.")

    await context.set_offline(False)
    await visitor.live()
    await visitor.sees_toast("Order paid", "meanwhile")
    await visitor.part("place-order").click()
    await visitor.sees_toast("Order paid", "in vain")
    await visitor.sees_balance("₽998.00")
    assert await visitor.toasts_about("meanwhile") == 1


async def test_the_page_reloads_its_orders_after_redis_lost_the_stream(
    visitor: Visitor, caller: Caller, shop: Shop, session: aiohttp.ClientSession, redis: Redis
) -> None:
    visitor.url = visitor.url.replace("127.0.0.1", "gozon.localhost")
    await caller.open_account(100_000)
    await visitor.enter(caller.user_id)
    payments = [replica["name"] for replica in shop.servers["replicas"]["payments"]]
    await shop.supervisorctl("stop", *payments)
    await visitor.order("1", "a candle")
    row = await visitor.sees_order("a candle", "NEW")
    order_id = await row.get_attribute("data-order-id")
    assert order_id
    await visitor.page.context.set_offline(True)
    await expect(visitor.part("connection")).to_have_text("Offline: no network")
    await shop.supervisorctl("start", *payments)
    await all_ready(shop, session)
    await caller.decided(order_id)

    async def published() -> bool:
        return await redis.exists(stream_key(caller.user_id)) == 1

    await eventually(published)
    await redis.delete(stream_key(caller.user_id), meta_key(caller.user_id))
    await visitor.page.context.set_offline(False)
    await visitor.live()
    await visitor.sees_order("a candle", "FINISHED")
    await visitor.sees_toast("Order paid", "a candle")
    await visitor.sees_balance("₽999.00")
    assert await visitor.toasts_about("a candle") == 1
