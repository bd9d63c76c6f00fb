"""Drives the shop's page in a browser: actions of a user, and checks of the page's content."""

from pathlib import Path
from typing import Any

from playwright.async_api import ConsoleMessage, Locator, Page, Request, WebSocketRoute, expect

AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
SCREENSHOTS = Path(__file__).parents[2] / ".run" / "screenshots"

expect.set_options(timeout=30_000)


class HeldPushes:
    """Holds back the messages that the server pushes to a page, between `hold` and `release`."""

    def __init__(self) -> None:
        self._held: list[tuple[WebSocketRoute, str | bytes]] | None = None

    def hold(self) -> None:
        self._held = []

    def release(self) -> None:
        held, self._held = self._held or [], None
        for socket, message in held:
            socket.send(message)

    def connect(self, socket: WebSocketRoute) -> None:
        socket.connect_to_server().on_message(lambda message: self._pushed(socket, message))

    def _pushed(self, socket: WebSocketRoute, message: str | bytes) -> None:
        if self._held is None:
            socket.send(message)
        else:
            self._held.append((socket, message))


class Visitor:
    """One page in a browser.

    `console_errors` holds the errors and warnings on its console, `foreign_requests` the URLs of requests to other
    hosts.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.console_errors: list[str] = []
        self.foreign_requests: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        # Chromium logs each 404 and 409 response. These are normal here: no account exists, or it exists already.
        if message.location["url"] == f"{self.url}/api/payments/account" and message.text.startswith(
            "Failed to load"
        ):
            return
        self.console_errors.append(message.text)

    async def accessibility_violations(self) -> list[str]:
        """Returns the accessibility violations that axe finds, with rule and element."""
        await self.page.evaluate(AXE.read_text())
        found = await self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [
            f"{violation['id']}: {node['html']} {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:")):
            self.foreign_requests.append(request.url)

    def part(self, test_id: str) -> Locator:
        return self.page.get_by_test_id(test_id)

    async def enter(self, user_id: str) -> None:
        """Opens the page as this user, and returns when its socket is live."""
        await self.page.goto(self.url)
        await self.part("user-id-input").fill(user_id)
        await self.part("choose-user").click()
        await self.live()

    async def another_tab(self) -> "Visitor":
        """Opens another tab of the same browser, and so of the same user."""
        tab = Visitor(await self.page.context.new_page(), self.url)
        await tab.page.goto(self.url)
        await tab.live()
        return tab

    async def live(self) -> None:
        await expect(self.part("connection")).to_have_attribute("data-state", "live")

    async def holdable_pushes(self) -> HeldPushes:
        """Makes pushed messages holdable. Call it before `enter`."""
        pushes = HeldPushes()
        await self.page.route_web_socket("**/ws*", pushes.connect)
        return pushes

    async def replica(self) -> str:
        return await self.part("replica").inner_text()

    async def open_account(self) -> None:
        await self.part("open-account").click()
        await self.sees_balance("₽0.00")

    async def top_up(self, amount: str) -> None:
        await self.part("top-up-amount").fill(amount)
        await self.part("top-up").click()

    async def order(self, amount: str, description: str) -> None:
        await self.part("order-amount").fill(amount)
        await self.part("order-description").fill(description)
        await self.part("place-order").click()

    async def sees_balance(self, amount: str) -> None:
        await expect(self.part("balance")).to_have_text(amount)

    async def sees_order(self, description: str, status: str) -> Locator:
        row = self.part("order-row").filter(has_text=description)
        await expect(row).to_have_attribute("data-status", status)
        return row

    async def sees_toast(self, *words: str) -> None:
        """Waits for a toast with all these words."""
        toast = self.page.locator("[data-sonner-toast]")
        for word in words:
            toast = toast.filter(has_text=word)
        await expect(toast).to_be_visible()

    async def toasts_about(self, description: str) -> int:
        """Returns the number of toasts about an order since the page was loaded."""
        return sum(description in toast for toast in await self.toasts())

    async def toasts(self) -> list[str]:
        """Returns the texts of all toasts since the page was loaded."""
        return await self._witness("toasts")

    async def toast_titles(self) -> list[str]:
        """Returns the titles of all toasts since the page was loaded, including each later change of a title."""
        return await self._witness("titles")

    async def sockets_opened(self) -> int:
        """Returns the number of sockets since the page was loaded."""
        return await self._witness("sockets")

    async def record_shifts(self) -> None:
        """Starts to record layout shifts, after the 500 ms in which Chromium attributes shifts to an input."""
        await self.page.evaluate("new Promise((resolve) => setTimeout(resolve, 600))")
        await self.page.evaluate("witness.shifts.length = 0")

    async def shifts(self) -> list[Any]:
        """Returns the layout shifts since `record_shifts`: the score of each, and the elements that moved."""
        return await self._witness("shifts")

    async def policy_violations(self) -> list[str]:
        return await self._witness("violations")

    async def _witness(self, of: str) -> Any:
        return await self.page.evaluate(f"witness.{of}")

    async def screenshot(self, name: str) -> None:
        await self.page.evaluate("scrollTo(0, 0)")
        await self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, animations="disabled")
