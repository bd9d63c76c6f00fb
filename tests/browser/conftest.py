import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.async_api import Browser, async_playwright

from tests.browser.visitor import Visitor
from tests.conftest import Shop

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NewVisitor(Protocol):
    async def __call__(self, **options: Any) -> Visitor: ...


@pytest.fixture(scope="session")
async def browser() -> AsyncGenerator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
async def new_visitor(browser: Browser, shop: Shop) -> AsyncGenerator[NewVisitor]:
    """`await new_visitor()` opens an isolated browser context. Options go to Playwright."""
    visitors: list[Visitor] = []

    async def open_browser(**options: Any) -> Visitor:
        usual: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB"}
        context = await browser.new_context(**usual | options)
        await context.add_init_script(path=Path(__file__).with_name("witness.js"))
        visitors.append(Visitor(await context.new_page(), shop.url))
        return visitors[-1]

    yield open_browser
    for visitor in visitors:
        await visitor.page.context.close()


@pytest.fixture
async def visitor(new_visitor: NewVisitor) -> Visitor:
    return await new_visitor()
