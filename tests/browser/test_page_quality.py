"""Accessibility, robustness against double clicks and lost responses, page size and caching."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewVisitor
from tests.browser.test_shop_page import open_account
from tests.browser.visitor import Visitor
from tests.support import Caller, new_user

SCREENS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True},
    "russian phone": {"viewport": {"width": 390, "height": 844}, "locale": "ru-RU", "color_scheme": "dark"},
    "wide": {"viewport": {"width": 2560, "height": 1300}},
}


@pytest.mark.parametrize("screen", SCREENS)
async def test_no_screen_has_accessibility_violations_or_overflows(
    new_visitor: NewVisitor, caller: Caller, screen: str
) -> None:
    await caller.open_account(50_000)
    await caller.decided(await caller.order(40_000, "felt boots"))
    declined = await caller.order(40_000, "an_order_without_any_space_in_its_description_" * 4)
    await caller.decided(declined)
    visitor = await new_visitor(**SCREENS[screen])

    await visitor.page.goto(visitor.url)
    await assert_accessible(visitor)
    await visitor.enter(caller.user_id)
    await visitor.part("ledger").locator("summary").click()
    await expect(visitor.part("entry")).to_have_count(2)
    await visitor.order("1.00", "a candle")
    await expect(visitor.part("toast-link")).to_be_visible()
    await assert_accessible(visitor)
    await visitor.screenshot(f"shop-{screen.replace(' ', '-')}")
    await visitor.order("nothing", "")
    await expect(visitor.page.get_by_role("alert").first).to_be_visible()
    await assert_accessible(visitor)
    await visitor.page.goto(f"{visitor.url}/orders/{declined}")
    await expect(visitor.part("hop").first).to_be_visible()
    await assert_accessible(visitor)


async def assert_accessible(visitor: Visitor) -> None:
    # Waits for animations: an element that fades in has too little contrast for a moment.
    await visitor.page.evaluate(
        "Promise.all(document.getAnimations().map(({ finished }) => finished.catch(() => {})))"
    )
    assert await visitor.accessibility_violations() == []
    beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await visitor.page.evaluate(beyond) <= 0


async def test_the_shop_can_be_used_by_keyboard_alone(visitor: Visitor) -> None:
    keyboard = visitor.page.keyboard
    await visitor.page.goto(visitor.url)
    await visitor.part("user-id-input").focus()
    await keyboard.type(new_user())
    await keyboard.press("Enter")
    await visitor.live()

    async def reach(test_id: str, key: str = "Tab") -> None:
        for _ in range(60):
            await keyboard.press(key)
            if await visitor.part(test_id).evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"{test_id} is not reached by {key}")

    await reach("open-account")
    await keyboard.press("Enter")
    await visitor.sees_balance("₽0.00")
    await reach("top-up-amount")
    await keyboard.type("1000")
    await keyboard.press("Enter")
    await visitor.sees_balance("₽1,000.00")
    await reach("good-socks")
    await keyboard.press("Space")
    await reach("place-order")
    await keyboard.press("Enter")
    await visitor.sees_order("Wool socks", "FINISHED")

    await visitor.part("order-row").get_by_role("link").focus()
    await keyboard.press("Enter")
    heading = visitor.page.get_by_role("heading", level=1)
    await expect(heading).to_have_text("Wool socks")
    await expect(heading).to_be_focused()


async def test_a_toast_is_announced_and_shifts_no_layout(visitor: Visitor) -> None:
    pushes = await visitor.holdable_pushes()
    await open_account(visitor)
    pushes.hold()
    await visitor.order("1.00", "a candle")
    await visitor.sees_order("a candle", "NEW")
    await visitor.record_shifts()
    pushes.release()
    await visitor.sees_toast("Order paid")
    region = visitor.page.get_by_role("status").filter(has=visitor.page.locator("[data-sonner-toast]"))
    await expect(region).to_contain_text("Order paid")
    await visitor.page.locator("[data-sonner-toast]").first.evaluate(
        "toast => Promise.all(toast.getAnimations().map(({ finished }) => finished))"
    )
    # The text of the badge changes its width a little. A row that moves by a line counts over a hundred times as
    # much.
    assert sum(value for value, *_ in await visitor.shifts()) < 0.0005


async def test_a_double_click_orders_once(visitor: Visitor) -> None:
    await open_account(visitor)
    await visitor.part("order-description").fill("felt boots")
    await visitor.part("order-amount").fill("100")
    await visitor.part("place-order").dblclick()
    await visitor.sees_order("felt boots", "FINISHED")
    await expect(visitor.part("place-order")).to_be_focused()
    await visitor.order("1", "a candle")
    await visitor.sees_balance("₽899.00")
    await expect(visitor.part("order-row")).to_have_count(2)
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)


async def test_an_order_whose_response_got_lost_is_repeated_and_placed_once(visitor: Visitor) -> None:
    await open_account(visitor)
    lost = asyncio.Event()

    async def lose_the_answer(route: Any) -> None:
        if route.request.method == "POST" and not lost.is_set():
            lost.set()
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await visitor.page.route("**/api/orders", lose_the_answer)
    await visitor.order("100", "felt boots")
    await expect(visitor.page.get_by_role("alert")).to_contain_text("nothing is done twice")
    await visitor.part("place-order").click()
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)
    await visitor.sees_order("felt boots", "FINISHED")
    await visitor.order("1", "a candle")
    await visitor.sees_balance("₽899.00")
    await expect(visitor.part("order-row")).to_have_count(2)


async def test_the_first_load_has_less_than_150_kib_of_script_and_style(visitor: Visitor) -> None:
    await visitor.enter(new_user())
    sizes: dict[str, int] = await visitor.page.evaluate(
        "Object.fromEntries(performance.getEntries().map(({ name, encodedBodySize }) => [name, encodedBodySize]))"
    )
    code = {name: size for name, size in sizes.items() if name.endswith((".js", ".css"))}
    assert len(code) >= 2
    assert all(code.values())
    assert sum(code.values()) < 150 * 1024


async def test_hashed_assets_are_cached_forever_and_the_page_is_revalidated(visitor: Visitor) -> None:
    kept: dict[str, str] = {}
    visitor.page.on(
        "response", lambda response: kept.update({response.url: response.headers.get("cache-control", "")})
    )
    await visitor.enter(new_user())
    assert "no-cache" in kept[f"{visitor.url}/"]
    assets = {url: how for url, how in kept.items() if "/assets/" in url}
    assert assets
    assert all("immutable" in how for how in assets.values())
