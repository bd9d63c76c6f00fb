"""The users of one process of the generator, and the pages that they have open."""

import asyncio

import msgspec

from loadtest.client import Response
from loadtest.load.entrance import Entrance
from loadtest.load.frames import ReceivedOrder, ReceivedPing, ReceivedRenew, ReceivedWelcome, decode
from loadtest.load.history import OrderHistory
from loadtest.load.journeys import Journeys
from loadtest.load.parameters import Failed
from loadtest.websocket import WebSocket, handshake

WELCOME_SECONDS = 30
ACK_SECONDS = 1.0
ACCOUNT = "/api/payments/account"
# 10,000,000.00, which no load will ever spend.
DEPOSIT = 10**9


class User:
    """`told` holds each order that a page was told of, with the time of the last toast."""

    def __init__(self, user_id: str, has_account: bool, entrance: Entrance, journeys: Journeys) -> None:
        self.id = user_id
        self.has_account = has_account
        self.entrance = entrance
        self.journeys = journeys
        self.topped_up = 0
        self.placed = 0
        self.told: dict[str, float] = {}
        self.pages: list[SimulatedPage] = []

    async def arrive(self, pages: int) -> None:
        """Opens an account with money in it, and the pages."""
        if self.has_account:
            await self.entrance.must(201, request=self.entrance.post(ACCOUNT, self.id))
            deposit = b'{"amount":%d}' % DEPOSIT
            await self.entrance.must(201, request=self.entrance.post(f"{ACCOUNT}/top-ups", self.id, deposit))
            self.topped_up = DEPOSIT
        for _ in range(pages):
            page = SimulatedPage(self, await self.ticket())
            await page.open()
            self.pages.append(page)

    async def ticket(self) -> str:
        return _ticket(await self.entrance.must(201, request=self._ticket_wanted()))

    async def another_ticket(self, until: float) -> str:
        """Asks again and again, as the page in the browser does. Raises Failed when the time is up."""
        request = self._ticket_wanted()
        return _ticket(await self.entrance.insist("renew", self.id, 201, request=request, until=until))

    def _ticket_wanted(self) -> bytes:
        return self.entrance.post("/api/notifications/tickets", self.id)

    @property
    def waits(self) -> bool:
        """Whether a page was told of fewer orders than the user has placed."""
        return any(len(page.toasts) < self.placed for page in self.pages if not page.why_lost)

    def leave(self) -> None:
        for page in self.pages:
            page.close()


class SimulatedPage(WebSocket):
    """What the page in the browser does with its socket: it answers, acknowledges, and renews its identity."""

    def __init__(self, user: User, ticket: str) -> None:
        host, origin = user.entrance.host, user.entrance.origin
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
        host, port, tls = self.user.entrance.address
        await self._loop.create_connection(lambda: self, host, port, ssl=tls)
        async with asyncio.timeout(WELCOME_SECONDS):
            await self._welcomed

    def told(self, text: bytes, at: float) -> None:
        match decode(text):
            case ReceivedOrder() as frame:
                self._toast(frame, at)
            case ReceivedPing():
                self.say(b'{"type":"pong"}')
            case ReceivedRenew(within):
                self._renewing = asyncio.create_task(self._renew(at + within))
            case ReceivedWelcome() as welcome:
                self.replica = welcome.replica
                for frame in welcome.missed:
                    self._toast(frame, at)
                if not self._welcomed.done():
                    self._welcomed.set_result(None)
            case None:
                pass  # a type of frame that is newer than this client

    def _toast(self, frame: ReceivedOrder, at: float) -> None:
        user, order_id = self.user, frame.order.id
        self.toasts.append(frame.order)
        if order_id not in user.told:
            user.journeys.note(order_id, frame.journey, at)
        user.told[order_id] = at
        self._offset = frame.o
        if not self._acking:
            self._acking = True
            self._loop.call_later(ACK_SECONDS, self._acknowledge)

    def _acknowledge(self) -> None:
        self._acking = False
        self.say(b'{"type":"ack","o":%d}' % self._offset)

    async def _renew(self, until: float) -> None:
        try:
            ticket = await self.user.another_ticket(until)
        except Failed as error:  # the server then closes, and `lost` says why
            self._not_renewed = f", not renewed: {error}"
        else:
            self.say(b'{"type":"renew","ticket":"%b"}' % ticket.encode())

    def lost(self, why: str) -> None:
        self.why_lost = why + self._not_renewed
        if not self._welcomed.done():
            self._welcomed.set_exception(ConnectionError(f"{self.user.id}: socket {why}"))


def _ticket(answer: Response) -> str:
    return msgspec.json.decode(answer.body)["ticket"]
