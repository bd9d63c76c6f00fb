"""Steady load: customers of three kinds, whose orders can only end in one way, however bad the day is."""

import asyncio
import time
import traceback
from collections.abc import Coroutine
from random import Random
from typing import Any

import aiohttp

from loadtest.faults.history import ACCOUNT, Deed
from loadtest.faults.page import PageUnderFaults

AMOUNT = 100
RICH, POOR, PAGES_OF_RICH = 14, 3, 2
AMPLE = 100_000_000
PAUSE = 0.06  # between two requests
UNANSWERED_LIMIT = 150
AGAIN_AFTER = (0.5, 4.0)
ASKED_TWICE, TOP_UPS, NEWCOMERS = 0.25, 0.1, 0.02


class Customer:
    """`affords` orders: all, none without an account, or as many as were paid in."""

    def __init__(self, user_id: str, affords: int | None, pages: list[PageUnderFaults]) -> None:
        self.user_id = user_id
        self.affords = affords
        self.pages = pages
        self.orders: list[Deed] = []
        self.top_ups: list[Deed] = []

    def order(self) -> Deed:
        body = {"amount": AMOUNT, "description": "a lamp"}
        self.orders.append(Deed(self.user_id, "/api/orders", body))
        return self.orders[-1]

    def top_up(self, amount: int) -> Deed:
        self.top_ups.append(Deed(self.user_id, "/api/payments/account/top-ups", {"amount": amount}))
        return self.top_ups[-1]

    @property
    def deeds(self) -> list[Deed]:
        return self.orders + self.top_ups


class Crowd:
    """All customers. `open` has them order from now on; `finish` asks until everything is answered.

    `died`: what ended a customer, or a page, that should have gone on.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, random: Random) -> None:
        self.customers: list[Customer] = []
        self.opened: list[Deed] = []
        self.died: list[str] = []
        self._session = session
        self._url = url
        self._random = random
        self._name = f"{random.getrandbits(32):08x}"
        self._tasks: set[asyncio.Task[None]] = set()
        self._for_ever: set[asyncio.Task[None]] = set()
        self._unanswered = 0
        self.trading: list[Customer] = []
        self._closing = False

    async def gather(self) -> None:
        await asyncio.gather(*(self._join(None, PAGES_OF_RICH) for _ in range(RICH)))
        await asyncio.gather(*(self._join(0, 1) for _ in range(POOR)))

    def open(self) -> None:
        self._keep(self._for_ever, self._trade())

    def ask_anew(self) -> list[Deed]:
        """An order and a top-up by somebody rich, which nobody has asked for before."""
        customer = next(customer for customer in self.trading if customer.affords is None)
        asked = [customer.order(), customer.top_up(AMOUNT)]
        for deed in asked:
            self._spawn(self._until_answered(deed))
        return asked

    async def finish(self, seconds: float) -> int:
        """Returns how many requests, and newcomers, are still not answered."""
        self._closing = True
        deadline = time.monotonic() + seconds
        while self._tasks and (left := deadline - time.monotonic()) > 0:  # a newcomer leaves more of them
            await asyncio.wait(self._tasks, timeout=left)
        return len(self._tasks)

    async def leave(self) -> None:
        tasks = [*self._tasks, *self._for_ever]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def deeds(self) -> list[Deed]:
        return self.opened + [deed for customer in self.customers for deed in customer.deeds]

    def accepted_until(self, moment: float) -> list[tuple[Customer, str]]:
        return [
            (customer, deed.id)
            for customer in self.customers
            for deed in customer.orders
            if deed.id and deed.answered_at <= moment
        ]

    def accepted(self) -> list[float]:
        """When orders were."""
        return [deed.answered_at for customer in self.customers for deed in customer.orders if deed.id]

    def told(self) -> list[float]:
        """When pages were told anything."""
        return [moment for customer in self.customers for page in customer.pages for moment in page.told_at]

    async def _trade(self) -> None:
        while not self._closing:
            if self._unanswered < UNANSWERED_LIMIT:
                self._one_request()
            await asyncio.sleep(PAUSE)

    def _one_request(self) -> None:
        chance = self._random.random()
        customer = self._random.choice(self.trading)
        if chance < NEWCOMERS:
            self._spawn(self._newcomer())
        elif chance < NEWCOMERS + TOP_UPS and customer.affords is None:
            self._spawn(self._until_answered(customer.top_up(AMOUNT)))
        else:
            self._spawn(self._until_answered(customer.order()))

    async def _newcomer(self) -> None:
        """Somebody with money for exactly so many orders, who places two more."""
        customer = await self._join(self._random.randint(1, 4), 1, trades=False)
        for _ in range((customer.affords or 0) + 2):
            self._spawn(self._until_answered(customer.order()))

    async def _join(self, affords: int | None, pages: int, *, trades: bool = True) -> Customer:
        """With the pages open, and the account filled, before the first order."""
        user_id = f"{self._name}-{len(self.customers)}"
        customer = Customer(
            user_id, affords, [PageUnderFaults(self._session, self._url, user_id) for _ in range(pages)]
        )
        self.customers.append(customer)
        for page in customer.pages:
            self._keep(self._for_ever, page.run())
        for page in customer.pages:
            await page.live.wait()
        if affords != 0:
            self.opened.append(Deed(user_id, ACCOUNT))
            await self._until_answered(self.opened[-1])
            await self._until_answered(customer.top_up(AMPLE if affords is None else affords * AMOUNT))
        if trades:
            self.trading.append(customer)
        return customer

    async def _until_answered(self, deed: Deed) -> None:
        """Asked again with the same key until it is answered; now and then once more, which must change nothing."""
        self._unanswered += 1
        try:
            while await deed.ask(self._session, self._url) != "ok":
                await asyncio.sleep(self._random.uniform(*AGAIN_AFTER))
        finally:
            self._unanswered -= 1
        if self._random.random() < ASKED_TWICE:
            await deed.ask(self._session, self._url)

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
