"""The simulated users of one generator process, and their open pages."""

import asyncio

import msgspec

from loadtest.client import Response
from loadtest.load.frames import ReceivedOrder, ReceivedPing, ReceivedRenew, ReceivedWelcome, decode
from loadtest.load.history import OrderHistory
from loadtest.load.journeys import Journeys
from loadtest.load.parameters import LoadError
from loadtest.load.target import LoadTarget
from loadtest.websocket import WebSocket, handshake

WELCOME_SECONDS = 30
ACK_SECONDS = 1.0
ACCOUNT = "/api/payments/account"
# In kopecks: 10,000,000.00. A load does not spend it, because its paid orders are small (PRICES in `traffic`).
DEPOSIT = 10**9


class User:
    """A simulated customer with open pages.

    `toasted_at` holds the time of the last toast of each order, on any page. `placed` counts accepted orders.
    """

    def __init__(self, user_id: str, has_account: bool, target: LoadTarget, journeys: Journeys) -> None:
        self.id = user_id
        self.has_account = has_account
        self.target = target
        self.journeys = journeys
        self.topped_up = 0
        self.placed = 0
        self.toasted_at: dict[str, float] = {}
        self.pages: list[SimulatedPage] = []

    async def set_up(self, pages: int) -> None:
        """Opens an account and tops it up if the user has one, then opens the pages. Raises LoadError."""
        if self.has_account:
            await self.target.ask_expecting(201, request=self.target.post(ACCOUNT, self.id))
            deposit = b'{"amount":%d}' % DEPOSIT
            await self.target.ask_expecting(201, request=self.target.post(f"{ACCOUNT}/top-ups", self.id, deposit))
            self.topped_up = DEPOSIT
        for _ in range(pages):
            page = SimulatedPage(self, await self.ticket())
            await page.open()
            self.pages.append(page)

    async def ticket(self) -> str:
        return _ticket(await self.target.ask_expecting(201, request=self._ticket_request()))

    async def ticket_for_renewal(self, until: float) -> str:
        """Repeats the request like the page in the browser. Raises LoadError when the time `until` is over."""
        request = self._ticket_request()
        return _ticket(await self.target.ask_until("renew", self.id, 201, request=request, until=until))

    def _ticket_request(self) -> bytes:
        return self.target.post("/api/notifications/tickets", self.id)

    @property
    def waiting(self) -> bool:
        """True if an open page has received fewer toasts than the user has placed orders."""
        return any(len(page.toasts) < self.placed for page in self.pages if not page.why_lost)

    def close_pages(self) -> None:
        for page in self.pages:
            page.close()


class SimulatedPage(WebSocket):
    """A page that uses its socket like the page in the browser.

    It answers pings, acknowledges toasts and renews its identity. Unlike that page it does not reconnect.
    """

    def __init__(self, user: User, ticket: str) -> None:
        host, origin = user.target.host, user.target.origin
        super().__init__(handshake("/ws", host, origin, f"gozon.v1, ticket.{ticket}"))
        self.user = user
        self.toasts: list[OrderHistory] = []
        self.replica = ""
        self.why_lost = ""
        self._not_renewed = ""
        self._offset = 0
        self._acking = False
        self._loop = asyncio.get_running_loop()
        self._welcomed: asyncio.Future[None] = self._loop.create_future()

    async def open(self) -> None:
        host, port, tls = self.user.target.address
        await self._loop.create_connection(lambda: self, host, port, ssl=tls)
        async with asyncio.timeout(WELCOME_SECONDS):
            await self._welcomed

    def on_text(self, text: bytes, at: float) -> None:
        match decode(text):
            case ReceivedOrder() as frame:
                self._toast(frame, at)
            case ReceivedPing():
                self.send_text(b'{"type":"pong"}')
            case ReceivedRenew(within):
                self._renewing = asyncio.create_task(self._renew(at + within))
            case ReceivedWelcome() as welcome:
                self.replica = welcome.replica
                for frame in welcome.missed:
                    self._toast(frame, at)
                if not self._welcomed.done():
                    self._welcomed.set_result(None)
            case None:
                pass  # every client must ignore frames of an unknown type

    def _toast(self, frame: ReceivedOrder, at: float) -> None:
        user, order_id = self.user, frame.order.id
        self.toasts.append(frame.order)
        if order_id not in user.toasted_at:
            user.journeys.record(order_id, frame.journey, at)
        user.toasted_at[order_id] = at
        self._offset = frame.o
        if not self._acking:
            self._acking = True
            self._loop.call_later(ACK_SECONDS, self._acknowledge)

    def _acknowledge(self) -> None:
        self._acking = False
        self.send_text(b'{"type":"ack","o":%d}' % self._offset)

    async def _renew(self, until: float) -> None:
        try:
            ticket = await self.user.ticket_for_renewal(until)
        except LoadError as error:  # the server then closes the socket, and `on_lost` adds this reason
            self._not_renewed = f", not renewed: {error}"
        else:
            self.send_text(b'{"type":"renew","ticket":"%b"}' % ticket.encode())

    def on_lost(self, why: str) -> None:
        self.why_lost = why + self._not_renewed
        if not self._welcomed.done():
            self._welcomed.set_exception(ConnectionError(f"{self.user.id}: socket {why}"))


def _ticket(response: Response) -> str:
    return msgspec.json.decode(response.body)["ticket"]
