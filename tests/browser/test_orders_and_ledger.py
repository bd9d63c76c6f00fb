"""Long lists: orders by status and page, and the ledger of the account."""

import asyncio

from playwright.async_api import expect

from tests.browser.visitor import Visitor
from tests.support import Caller

PAID, DECLINED = 30, 25


async def test_orders_are_filtered_by_status_and_loaded_page_by_page(visitor: Visitor, caller: Caller) -> None:
    await caller.open_account(PAID * 100)
    paid = await asyncio.gather(*(caller.order(100, f"paid {n}") for n in range(PAID)))
    await asyncio.gather(*map(caller.decided, paid))
    declined = await asyncio.gather(*(caller.order(100, f"declined {n}") for n in range(DECLINED)))
    await asyncio.gather(*map(caller.decided, declined))

    await visitor.enter(caller.user_id)
    rows = visitor.part("order-row")
    await expect(rows).to_have_count(20)
    await visitor.part("older").click()
    await expect(rows).to_have_count(40)
    await visitor.part("older").click()
    await expect(rows).to_have_count(PAID + DECLINED)
    await expect(visitor.part("older")).to_have_count(0)

    await visitor.page.get_by_label("Paid").check()
    await expect(rows).to_have_count(PAID)
    await visitor.page.get_by_label("Cancelled").check()
    await expect(rows).to_have_count(DECLINED)
    await visitor.page.get_by_label("In progress").check()
    await expect(rows).to_have_count(0)
    await expect(visitor.page.get_by_text("None of your orders is in this state.")).to_be_visible()


async def test_the_ledger_follows_the_balance(visitor: Visitor, caller: Caller) -> None:
    await caller.open_account(100_000)
    await visitor.enter(caller.user_id)
    await visitor.part("ledger").locator("summary").click()
    entries = visitor.part("entry")
    await expect(entries).to_have_count(1)
    await expect(entries).to_contain_text("+₽1,000.00")

    await visitor.order("400.00", "felt boots")
    await expect(entries).to_have_count(2)
    await expect(entries.first).to_contain_text("-₽400.00")
    await expect(entries.first).to_contain_text("then ₽600.00")
    await entries.first.get_by_role("link").click()
    await expect(visitor.page.get_by_role("heading", level=1)).to_have_text("felt boots")
