"""A steady load of three kinds of customers: rich, poor and newcomers.

The number of their orders that must be paid is known in advance and does not depend on the faults.
"""

import asyncio
import time
import traceback
from collections.abc import Coroutine
from random import Random
from typing import Any

import aiohttp

from loadtest.faults.keyed_request import ACCOUNT, KeyedRequest
from loadtest.faults.page import PageUnderFaults

AMOUNT = 100
RICH, POOR, PAGES_OF_RICH = 14, 3, 2
RICH_BALANCE = 100_000_000
REQUEST_PAUSE_SECONDS = 0.06
UNANSWERED_LIMIT = 150
RETRY_SECONDS = (0.5, 4.0)
REPEATED_SHARE, TOP_UP_SHARE, NEWCOMER_SHARE = 0.25, 0.1, 0.02


class Customer:
    """A customer with open pages.

    `affords` is the number of orders that the balance pays for. 0 means no account, and None no limit.
    """

    def __init__(self, user_id: str, affords: int | None, pages: list[PageUnderFaults]) -> None:
        self.user_id = user_id
        self.affords = affords
        self.pages = pages
        self.orders: list[KeyedRequest] = []
        self.top_ups: list[KeyedRequest] = []

    def order(self) -> KeyedRequest:
        body = {"amount": AMOUNT, "description": "a lamp"}
        self.orders.append(KeyedRequest(self.user_id, "/api/orders", body))
        return self.orders[-1]

    def top_up(self, amount: int) -> KeyedRequest:
        self.top_ups.append(KeyedRequest(self.user_id, "/api/payments/account/top-ups", {"amount": amount}))
        return self.top_ups[-1]

    @property
    def requests(self) -> list[KeyedRequest]:
        return self.orders + self.top_ups


class Crowd:
    """All customers of a trial.

    `gather` creates them, `open` starts their orders, `finish` stops new orders and waits for open requests.
    `died` holds the tracebacks of customers and pages that failed with an unexpected error.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, random: Random) -> None:
        self.customers: list[Customer] = []
        self.opened: list[KeyedRequest] = []
        self.died: list[str] = []
        self._session = session
        self._url = url
        self._random = random
        self._name = f"{random.getrandbits(32):08x}"
        self._tasks: set[asyncio.Task[None]] = set()
        self._endless_tasks: set[asyncio.Task[None]] = set()
        self._unanswered = 0
        self.trading: list[Customer] = []
        self._closing = False

    async def gather(self) -> None:
        await asyncio.gather(*(self._join(None, PAGES_OF_RICH) for _ in range(RICH)))
        await asyncio.gather(*(self._join(0, 1) for _ in range(POOR)))

    def open(self) -> None:
        self._keep(self._endless_tasks, self._trade())

    def start_probes(self) -> list[KeyedRequest]:
        """Starts a new order and a new top-up of a rich customer, and returns them."""
        customer = next(customer for customer in self.trading if customer.affords is None)
        probes = [customer.order(), customer.top_up(AMOUNT)]
        for request in probes:
            self._spawn(self._until_answered(request))
        return probes

    async def finish(self, seconds: float) -> int:
        """Returns how many requests and newcomers have not finished after `seconds`."""
        self._closing = True
        deadline = time.monotonic() + seconds
        while self._tasks and (left := deadline - time.monotonic()) > 0:  # newcomers start further tasks
            await asyncio.wait(self._tasks, timeout=left)
        return len(self._tasks)

    async def leave(self) -> None:
        tasks = [*self._tasks, *self._endless_tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def requests(self) -> list[KeyedRequest]:
        return self.opened + [request for customer in self.customers for request in customer.requests]

    def accepted_until(self, moment: float) -> list[tuple[Customer, str]]:
        return [
            (customer, request.id)
            for customer in self.customers
            for request in customer.orders
            if request.id and request.answered_at <= moment
        ]

    def accepted_times(self) -> list[float]:
        """Returns the times of the event loop at which orders were accepted."""
        return [request.answered_at for customer in self.customers for request in customer.orders if request.id]

    def toast_times(self) -> list[float]:
        """Returns the times of the event loop at which pages received order frames."""
        return [moment for customer in self.customers for page in customer.pages for moment in page.toast_times]

    async def _trade(self) -> None:
        while not self._closing:
            if self._unanswered < UNANSWERED_LIMIT:
                self._start_random_request()
            await asyncio.sleep(REQUEST_PAUSE_SECONDS)

    def _start_random_request(self) -> None:
        chance = self._random.random()
        customer = self._random.choice(self.trading)
        if chance < NEWCOMER_SHARE:
            self._spawn(self._newcomer())
        elif chance < NEWCOMER_SHARE + TOP_UP_SHARE and customer.affords is None:
            self._spawn(self._until_answered(customer.top_up(AMOUNT)))
        else:
            self._spawn(self._until_answered(customer.order()))

    async def _newcomer(self) -> None:
        """Creates a customer with money for one to four orders, who places two more than that."""
        customer = await self._join(self._random.randint(1, 4), 1, trades=False)
        for _ in range((customer.affords or 0) + 2):
            self._spawn(self._until_answered(customer.order()))

    async def _join(self, affords: int | None, pages: int, *, trades: bool = True) -> Customer:
        """Creates a customer. Returns when its pages are live and its account has its first balance."""
        user_id = f"{self._name}-{len(self.customers)}"
        customer = Customer(
            user_id, affords, [PageUnderFaults(self._session, self._url, user_id) for _ in range(pages)]
        )
        self.customers.append(customer)
        for page in customer.pages:
            self._keep(self._endless_tasks, page.run())
        for page in customer.pages:
            await page.live.wait()
        if affords != 0:
            self.opened.append(KeyedRequest(user_id, ACCOUNT))
            await self._until_answered(self.opened[-1])
            await self._until_answered(customer.top_up(RICH_BALANCE if affords is None else affords * AMOUNT))
        if trades:
            self.trading.append(customer)
        return customer

    async def _until_answered(self, request: KeyedRequest) -> None:
        """Repeats the request with its key until it succeeds.

        A share of the requests is sent once more after that, which must change nothing.
        """
        self._unanswered += 1
        try:
            while await request.send(self._session, self._url) != "ok":
                await asyncio.sleep(self._random.uniform(*RETRY_SECONDS))
        finally:
            self._unanswered -= 1
        if self._random.random() < REPEATED_SHARE:
            await request.send(self._session, self._url)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._keep(self._tasks, work)

    def _keep(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self.died.append("".join(traceback.format_exception(error)))
