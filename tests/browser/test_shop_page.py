"""Buying on the shop's page, against a complete shop."""

from tests.browser.conftest import NewVisitor
from tests.browser.visitor import Visitor
from tests.support import new_user


async def open_account(visitor: Visitor) -> None:
    """Enters as a new user and opens an account with 1000.00."""
    await visitor.enter(new_user())
    await visitor.open_account()
    await visitor.top_up("1000.00")
    await visitor.sees_balance("₽1,000.00")


async def test_an_order_within_the_balance_changes_from_new_to_finished(visitor: Visitor) -> None:
    pushes = await visitor.holdable_pushes()
    await open_account(visitor)
    pushes.hold()  # otherwise the order may be decided before NEW is seen
    await visitor.order("400.00", "felt boots")
    await visitor.sees_order("felt boots", "NEW")
    await visitor.screenshot("new")
    pushes.release()
    await visitor.sees_order("felt boots", "FINISHED")
    await visitor.sees_toast("Order paid", "felt boots", "₽400.00")
    await visitor.sees_balance("₽600.00")
    await visitor.screenshot("finished")


async def test_an_order_beyond_the_balance_is_cancelled_with_its_reason(visitor: Visitor) -> None:
    await open_account(visitor)
    await visitor.order("400.00", "felt boots")
    await visitor.sees_balance("₽600.00")
    await visitor.order("5000.00", "a samovar")
    row = await visitor.sees_order("a samovar", "CANCELLED")
    await visitor.sees_toast("Order cancelled", "a samovar", "not enough money")
    assert "not enough money" in await row.inner_text()
    await visitor.sees_balance("₽600.00")
    await visitor.screenshot("cancelled")


async def test_an_order_without_an_account_is_cancelled_with_that_reason(visitor: Visitor) -> None:
    await visitor.enter(new_user())
    await visitor.order("10.00", "wool socks")
    row = await visitor.sees_order("wool socks", "CANCELLED")
    await visitor.sees_toast("Order cancelled", "wool socks", "no account")
    assert "no account" in await row.inner_text()
    await visitor.screenshot("no-account")


async def test_a_change_shows_one_toast_in_every_browser_of_the_user(new_visitor: NewVisitor) -> None:
    user_id = new_user()
    here, there = await browsers_on_two_replicas(new_visitor, user_id)
    await here.open_account()
    await here.top_up("1000.00")
    for description in ("linden honey", "rosehip tea"):
        await here.order("10.00", description)
        for visitor in (here, there):
            await visitor.sees_toast("Order paid", description)
    # A second toast about the first order would have appeared before the toast about the second order.
    for visitor in (here, there):
        assert await visitor.toasts_about("linden honey") == 1
    await there.screenshot("another-browser")


async def browsers_on_two_replicas(new_visitor: NewVisitor, user_id: str) -> tuple[Visitor, Visitor]:
    """Returns two browsers of the user whose sockets are on different replicas."""
    first = await new_visitor()
    await first.enter(user_id)
    for _ in range(12):
        other = await new_visitor()
        await other.enter(user_id)
        if await other.replica() != await first.replica():
            return first, other
    raise AssertionError(f"every socket came to {await first.replica()}")


async def test_a_reload_shows_no_toast_again(visitor: Visitor) -> None:
    await open_account(visitor)
    await visitor.order("400.00", "felt boots")
    await visitor.sees_toast("Order paid", "felt boots")
    await visitor.page.reload()
    await visitor.live()
    await visitor.order("1.00", "a candle")
    await visitor.sees_toast("Order paid", "a candle")
    await visitor.sees_order("felt boots", "FINISHED")
    assert await visitor.toasts_about("felt boots") == 0


async def test_buying_logs_no_error_and_violates_no_content_security_policy(visitor: Visitor) -> None:
    await open_account(visitor)
    await visitor.order("400.00", "felt boots")
    await visitor.sees_toast("Order paid")
    await visitor.order("5000.00", "a samovar")
    await visitor.sees_toast("Order cancelled")
    assert visitor.console_errors == []
    assert await visitor.policy_violations() == []
    assert visitor.foreign_requests == []
