"""Swagger UI at /api/docs."""

import pytest
from playwright.async_api import Locator, expect

from tests.browser.visitor import Visitor
from tests.support import Caller


def operation(visitor: Visitor, method: str, path: str) -> Locator:
    return visitor.page.locator(f".opblock-{method}", has=visitor.page.locator(f"[data-path='{path}']"))


@pytest.mark.parametrize("address", ["/api/docs", "/api/docs/"])
async def test_the_api_page_shows_the_operations_of_every_service(visitor: Visitor, address: str) -> None:
    answer = await visitor.page.goto(visitor.url + address)
    assert answer is not None
    assert (answer.status, answer.url) == (200, visitor.url + address)
    await expect(operation(visitor, "post", "/api/orders")).to_be_visible()
    await expect(operation(visitor, "post", "/api/payments/account/top-ups")).to_be_visible()
    await expect(operation(visitor, "post", "/api/notifications/tickets")).to_be_visible()
    await visitor.screenshot("api-docs")
    assert visitor.console_errors == []
    assert await visitor.policy_violations() == []
    assert visitor.foreign_requests == []


async def test_try_it_out_opens_an_account_for_the_authorized_user(visitor: Visitor, caller: Caller) -> None:
    page = visitor.page
    await page.goto(f"{visitor.url}/api/docs")
    await page.get_by_role("button", name="Authorize").click()
    dialogue = page.locator(".modal-ux")
    await dialogue.locator("input").fill(caller.user_id)
    await dialogue.get_by_role("button", name="Apply").click()
    await dialogue.get_by_role("button", name="Close").click()

    opening = operation(visitor, "post", "/api/payments/account")
    await opening.locator(".opblock-summary-control").click()
    await opening.get_by_role("button", name="Execute").click()

    answer = opening.locator(".live-responses-table")
    await expect(answer.locator(".response-col_status").last).to_contain_text("201")
    await expect(answer.locator(".response-col_description").last).to_contain_text(caller.user_id)
    await visitor.screenshot("api-docs-tried-out")
    assert await caller.balance() == 0
    assert visitor.console_errors == []
    assert await visitor.policy_violations() == []
