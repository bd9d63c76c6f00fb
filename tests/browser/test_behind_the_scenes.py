"""The page "Behind the scenes", which shows the running system."""

import re
from itertools import pairwise

from playwright.async_api import expect

from tests.browser.test_page_quality import assert_accessible
from tests.browser.visitor import Visitor
from tests.support import Caller, new_user

ORDERS = 300
CHARTS = ["rate", "latency", "waiting", "queues", "toasts"]


async def test_a_rush_shows_in_the_charts_and_in_few_toasts(visitor: Visitor, caller: Caller) -> None:
    await visitor.enter(caller.user_id)
    await visitor.part("nav-behind").click()
    await expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Behind the scenes")
    for chart in CHARTS:
        await expect(visitor.part(f"chart-{chart}").locator("canvas")).to_be_visible()
    await expect(visitor.part("replica-row").filter(has_text="socket")).not_to_have_count(0)
    await expect(visitor.part("chart-rate").locator("li").first).to_have_text("accepted 0")

    await visitor.part("rush").click()
    await expect(visitor.part("chart-rate").locator("li").first).to_have_text(re.compile("accepted [1-9]"))
    await expect(visitor.part("chart-latency").locator("li").first).to_have_text(re.compile("within [1-9]"))
    await visitor.part("nav-shop").click()
    await expect(visitor.part("order-row")).not_to_have_count(0)
    await visitor.part("nav-behind").click()
    progress = visitor.part("rush-progress")
    await expect(progress).to_contain_text(re.compile(rf"{ORDERS} orders accepted in [\d.]+ s"), timeout=120_000)
    await expect(progress).to_contain_text(f"{ORDERS} decided")
    await visitor.screenshot("behind-the-scenes")
    await assert_accessible(visitor)
    # The toasts may be closed by now, so the recorded ones are counted.
    assert orders_reported(await visitor.toast_titles()) == ORDERS
    assert len(await visitor.toasts()) <= 10
    # The top-up covers all orders at 1.00 each. One order in ten costs more than there is, and its 1.00 is left.
    assert await caller.balance() == ORDERS // 10 * 100
    assert visitor.console_errors == []
    assert await visitor.policy_violations() == []


def orders_reported(titles: list[str]) -> int:
    """Returns the number of orders that the toasts reported, from the titles in order of appearance.

    A title without a number reports one order. A title with numbers reports the total of a burst so far, so the
    last title of each burst counts.
    """
    counts = [sum(map(int, re.findall(r"\d+", title))) for title in titles]
    together = [*filter(None, counts), 0]
    return counts.count(0) + sum(count for count, after in pairwise(together) if after < count)


async def test_the_view_reports_that_backstage_is_switched_off_and_stops_polling(visitor: Visitor) -> None:
    asked = 0

    async def count(route: object) -> None:
        nonlocal asked
        asked += 1
        # The response of a gateway without a route to backstage, as tests/gateway checks.
        await route.fulfill(status=404, content_type="application/problem+json", body='{"status":404}')  # type: ignore[attr-defined]

    await visitor.page.clock.install()
    await visitor.page.route("**/api/backstage", count)
    await visitor.enter(new_user())
    assert asked == 0, "the view is not open yet"
    await visitor.part("nav-behind").click()
    await expect(visitor.part("behind-off")).to_be_visible()
    await visitor.page.clock.run_for(10_000)
    assert asked == 1


async def test_a_script_that_fails_to_load_shows_a_message_and_can_be_reloaded(visitor: Visitor) -> None:
    await visitor.page.route("**/assets/Behind-*.js", lambda route: route.abort())
    await visitor.enter(new_user())
    await visitor.part("nav-behind").click()
    await expect(visitor.page.get_by_role("alert")).to_contain_text("Reload it.")
    await visitor.part("nav-shop").click()
    await expect(visitor.part("place-order")).to_be_visible()
    await visitor.part("nav-behind").click()
    await visitor.page.unroute_all()
    await visitor.page.get_by_role("alert").get_by_role("button").click()
    await expect(visitor.part("charts")).to_be_visible()


async def test_a_rush_whose_orders_all_fail_reports_the_failures(visitor: Visitor) -> None:
    await visitor.enter(new_user())
    await visitor.page.route("**/api/orders", lambda route: route.abort())
    await visitor.part("nav-behind").click()
    await visitor.part("rush").click()
    await expect(visitor.part("rush-progress")).to_contain_text(f"{ORDERS} failed")
    await expect(visitor.page.get_by_role("alert")).to_contain_text("The shop cannot be reached.")
