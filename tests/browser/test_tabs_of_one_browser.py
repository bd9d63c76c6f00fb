"""Several tabs of one browser share a socket, and each change shows one toast or notification."""

from collections.abc import Sequence
from itertools import chain

from playwright.async_api import expect

from tests.browser.conftest import NewVisitor
from tests.browser.test_shop_page import open_account
from tests.browser.visitor import Visitor
from tests.support import Caller, eventually

# Fakes for headless Chromium, which has no desktop: hiding a page, and notifications.
DESKTOP = """
window.notified = []
let hidden = false
Object.defineProperty(document, 'hidden', { get: () => hidden })
Object.defineProperty(document, 'visibilityState', { get: () => (hidden ? 'hidden' : 'visible') })
window.hide = (now) => {
  hidden = now
  document.dispatchEvent(new Event('visibilitychange'))
}
window.Notification = class {
  static permission = 'default'
  static async requestPermission() {
    return (Notification.permission = 'granted')
  }
  constructor(title, { body, tag }) {
    notified.push({ title, body, tag, notification: this })
  }
  close() {}
}
"""
WITHOUT_LOCKS = "delete Navigator.prototype.locks"


async def show_only(tab: Visitor, tabs: Sequence[Visitor]) -> None:
    for other in tabs:
        await other.page.evaluate("now => hide(now)", other is not tab)


async def test_tabs_share_one_socket_and_the_visible_tab_shows_the_toast(new_visitor: NewVisitor) -> None:
    visitor = await new_visitor()
    await visitor.page.context.add_init_script(DESKTOP)
    await open_account(visitor)
    tabs = [visitor, await visitor.another_tab(), await visitor.another_tab()]
    assert [await tab.sockets_opened() for tab in tabs] == [1, 0, 0]
    assert len({await tab.replica() for tab in tabs}) == 1

    await show_only(tabs[1], tabs)
    await tabs[1].order("100", "felt boots")
    await tabs[1].sees_toast("Order paid", "felt boots")
    for tab in tabs:
        await tab.sees_order("felt boots", "FINISHED")
        await tab.sees_balance("₽900.00")
    await show_only(tabs[0], tabs)
    await tabs[0].order("100", "a candle")
    await tabs[0].sees_toast("Order paid", "a candle")
    for tab in tabs:
        await tab.sees_order("a candle", "FINISHED")
    assert [await tab.toasts_about("felt boots") for tab in tabs] == [0, 1, 0]
    assert [await tab.toasts_about("a candle") for tab in tabs] == [1, 0, 0]


async def test_when_the_tab_with_the_socket_is_closed_another_tab_continues_at_its_position(
    visitor: Visitor, caller: Caller
) -> None:
    await caller.open_account(1_000)
    await visitor.enter(caller.user_id)
    first, second = await visitor.another_tab(), await visitor.another_tab()
    await visitor.page.close()
    await caller.decided(await caller.order(100, "while no tab listened"))
    await second.sees_order("while no tab listened", "FINISHED")
    await caller.order(100, "a candle")
    for tab in (first, second):
        await tab.sees_order("a candle", "FINISHED")
    assert sorted([await tab.sockets_opened() for tab in (first, second)]) == [0, 1]
    for description in ("while no tab listened", "a candle"):
        assert sum([await tab.toasts_about(description) for tab in (first, second)]) == 1


async def test_without_web_locks_every_tab_has_its_own_socket(new_visitor: NewVisitor) -> None:
    visitor = await new_visitor()
    await visitor.page.context.add_init_script(WITHOUT_LOCKS)
    await open_account(visitor)
    other = await visitor.another_tab()
    await other.order("100", "felt boots")
    for tab in (visitor, other):
        await tab.sees_order("felt boots", "FINISHED")
        assert await tab.sockets_opened() == 1


async def test_a_hidden_page_notifies_once_and_a_click_opens_the_order(
    new_visitor: NewVisitor, caller: Caller
) -> None:
    visitor = await new_visitor()
    await visitor.page.context.add_init_script(DESKTOP)
    await caller.open_account(1_000)
    await visitor.enter(caller.user_id)
    await visitor.part("notify").click()
    await expect(visitor.part("notify")).to_have_attribute("data-permission", "granted")
    other = await visitor.another_tab()
    tabs = (visitor, other)
    for tab in tabs:
        await tab.page.evaluate("Notification.permission = 'granted'; hide(true)")

    order_id = await caller.order(100, "felt boots")
    await caller.decided(order_id)
    await caller.order(100, "a candle")

    async def notified() -> list[list[list[str]]]:
        """Returns title and text of the notifications of each tab."""
        return [await tab.page.evaluate("notified.map(({ title, body }) => [title, body])") for tab in tabs]

    async def two_notifications() -> bool:
        return len(list(chain(*await notified()))) >= 2

    await eventually(two_notifications)
    shown = await notified()
    assert list(chain(*shown)) == [["Order paid", "felt boots, ₽1.00"], ["Order paid", "a candle, ₽1.00"]]
    assert [await tab.toasts_about("felt boots") for tab in tabs] == [0, 0]
    notifying_tab = tabs[0] if shown[0] else tabs[1]
    await notifying_tab.page.evaluate("notified[0].notification.onclick()")
    await expect(notifying_tab.page).to_have_url(f"{visitor.url}/orders/{order_id}")


async def test_a_hidden_page_without_notification_permission_shows_the_toast_later(
    new_visitor: NewVisitor, caller: Caller
) -> None:
    visitor = await new_visitor()
    await visitor.page.context.add_init_script(DESKTOP)
    await visitor.enter(caller.user_id)
    await visitor.page.evaluate("hide(true)")
    await caller.order(100, "felt boots")
    await visitor.sees_order("felt boots", "CANCELLED")
    await visitor.page.evaluate("hide(false)")
    await visitor.sees_toast("Order cancelled", "felt boots")
