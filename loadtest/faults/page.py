"""An open page of a customer, which comes back as docs/push.md says, and notes every order frame."""

import asyncio
import json
import random
from collections import Counter
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Origin, Subprotocol

from loadtest.faults.reading import everything

BACK_AFTER = (0.5, 2.0)
SILENCE_SECONDS = 40
PONG, LIMIT = '{"type":"pong"}', aiohttp.ClientTimeout(total=10)


class Toast(NamedTuple):
    """Of one Redis: after a wipe the epoch is another, and what was told before may be told again."""

    epoch: str
    order_id: str
    version: int
    status: str


class Closed(NamedTuple):
    at: float
    replica: str
    code: int | None  # None: without a word


class PageUnderFaults:
    """`toasts` are the order frames it was given; `told` the orders whose end its customer has seen.

    `came_at` is its first welcome. `epochs_left` counts the Redis that were another when it was next welcomed, and
    `gaps` how often something was missing although Redis was the same.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, user_id: str) -> None:
        self.user_id = user_id
        self.live = asyncio.Event()
        self.toasts: Counter[Toast] = Counter()
        self.told: set[str] = set()
        self.told_at: list[float] = []
        self.came_at = inf
        self.epochs_left = 0
        self.gaps = 0
        self.closed: list[Closed] = []
        self._replica = ""
        self._session = session
        self._url = url
        self._position: tuple[str, int] | None = None
        self._to_reload = False

    async def run(self) -> None:
        while True:
            with suppress(aiohttp.ClientError, OSError, TimeoutError, WebSocketException):
                try:
                    await self._visit()
                except ConnectionClosed as error:
                    now, code = asyncio.get_running_loop().time(), error.rcvd and error.rcvd.code
                    self.closed.append(Closed(now, self._replica, code))
                    raise
            self.live.clear()
            await asyncio.sleep(random.uniform(*BACK_AFTER))

    async def _visit(self) -> None:
        who = {"X-User-Id": self.user_id}
        async with self._session.post(
            f"{self._url}/api/notifications/tickets", headers=who, timeout=LIMIT
        ) as answer:
            if answer.status != 201:
                return
            ticket = (await answer.json())["ticket"]
        at = "" if self._position is None else "?e={}&o={}".format(*self._position)
        async with websockets.connect(
            f"ws://{urlsplit(self._url).netloc}/ws{at}",
            subprotocols=[Subprotocol("gozon.v1"), Subprotocol(f"ticket.{ticket}")],
            origin=Origin(self._url),
            compression=None,
            close_timeout=1,
            proxy=None,
        ) as connection:
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._take(connection, json.loads(await connection.recv()))

    async def _take(self, connection: ClientConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "welcome":
            await self._welcomed(frame)
            self.live.set()
        elif frame["type"] == "order":
            self._show(frame)
        elif frame["type"] == "ping":
            await connection.send(PONG)

    async def _welcomed(self, frame: dict[str, Any]) -> None:
        before, self._position = self._position, (frame["epoch"], frame["offset"])
        self._replica = frame["replica"]
        for missed in frame["missed"]:
            self._show(missed)
        if before is None:
            self.came_at = asyncio.get_running_loop().time()
            return
        moved = before[0] != frame["epoch"]
        self.epochs_left += moved
        if not frame["recovered"]:
            self.gaps += not moved
            self._to_reload = True
        if self._to_reload:  # since this visit, or an earlier one that could not
            await self._reload()
            self._to_reload = False

    def _show(self, frame: dict[str, Any]) -> None:
        assert self._position is not None
        epoch, offset = self._position
        self._position = epoch, max(offset, frame["o"])
        order = frame["order"]
        self.toasts[Toast(epoch, order["id"], order["version"], order["status"])] += 1
        self.told.add(order["id"])
        self.told_at.append(asyncio.get_running_loop().time())

    async def _reload(self) -> None:
        orders = await everything(self._session, self._url, "/api/orders", self.user_id)
        self.told |= {order["id"] for order in orders if order["status"] != "NEW"}
