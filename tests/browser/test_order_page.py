"""The page of one order, and the links to it."""

import re

from playwright.async_api import expect

from tests.browser.test_shop_page import open_account
from tests.browser.visitor import Visitor
from tests.support import Caller

HOPS = ["accepted", "relayed", "received", "settled", "result_relayed", "updated"]


async def test_a_toast_links_to_its_order_and_the_orders_journey(visitor: Visitor) -> None:
    await open_account(visitor)
    await visitor.order("400.00", "felt boots")
    await visitor.sees_toast("Order paid")
    await visitor.part("toast-link").click()

    await expect(visitor.page.get_by_role("heading", level=1)).to_have_text("felt boots")
    await expect(visitor.part("outcome")).to_have_attribute("data-status", "FINISHED")
    hops = visitor.part("hop")
    await expect(hops).to_have_count(len(HOPS) + 1)
    assert [await hop.get_attribute("data-hop") for hop in await hops.all()] == [*HOPS, "shown"]
    for hop in (await hops.all())[:-1]:
        await expect(hop).to_contain_text(re.compile(r"(orders|payments)[-\w]*.*\+[\d.,]+ ms", re.DOTALL))
    await expect(visitor.part("took")).to_contain_text("ms from accepting")
    await visitor.screenshot("order")

    await visitor.page.reload()
    await expect(visitor.part("hop")).to_have_count(len(HOPS))
    await visitor.part("back").click()
    await visitor.sees_order("felt boots", "FINISHED")


async def test_an_order_page_updates_without_a_reload(visitor: Visitor) -> None:
    pushes = await visitor.holdable_pushes()
    await open_account(visitor)
    pushes.hold()
    await visitor.order("400.00", "felt boots")
    row = await visitor.sees_order("felt boots", "NEW")
    await row.get_by_role("link").click()
    pushes.release()
    await expect(visitor.part("outcome")).to_have_attribute("data-status", "FINISHED")
    await expect(visitor.part("hop")).to_have_count(len(HOPS) + 1)


async def test_the_page_of_a_cancelled_order_shows_the_reason_and_a_remedy(visitor: Visitor) -> None:
    await open_account(visitor)
    await visitor.order("5000.00", "a samovar")
    row = await visitor.sees_order("a samovar", "CANCELLED")
    await row.get_by_role("link").click()
    await expect(visitor.part("outcome")).to_contain_text("not enough money")
    await expect(visitor.part("outcome")).to_contain_text("Top up the account and order again.")


async def test_another_users_order_is_not_found(visitor: Visitor, caller: Caller) -> None:
    theirs = await caller.order(100)
    await open_account(visitor)
    await visitor.page.goto(f"{visitor.url}/orders/{theirs}")
    await expect(visitor.page.get_by_role("alert")).to_contain_text("You have no order with this number.")
    await expect(visitor.part("outcome")).to_have_count(0)
