"""An open page of a customer: it reconnects as docs/push.md says, and counts every order frame."""

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

from loadtest.faults.pagination import read_all_items

RECONNECT_SECONDS = (0.5, 2.0)
SILENCE_SECONDS = 40
PONG, REQUEST_TIMEOUT = '{"type":"pong"}', aiohttp.ClientTimeout(total=10)


class Toast(NamedTuple):
    """Identifies an order frame.

    A wiped Redis has a new epoch, and can send earlier notifications again. So the epoch is part of the identity.
    """

    epoch: str
    order_id: str
    version: int
    status: str


class SocketClose(NamedTuple):
    at: float
    replica: str
    code: int | None  # None if the connection ended without a close frame


class PageUnderFaults:
    """A page that runs until it is cancelled, through any number of sockets.

    `toasts` counts the order frames. `shown` holds the ids of orders whose final status the page has, from an order
    frame or from a reload.
    `first_welcome_at` is a time of the event loop. `epoch_changes` counts the welcomes with another epoch than
    before. `gaps` counts the welcomes that could not recover all missed frames although the epoch was the same.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, user_id: str) -> None:
        self.user_id = user_id
        self.live = asyncio.Event()
        self.toasts: Counter[Toast] = Counter()
        self.shown: set[str] = set()
        self.toast_times: list[float] = []
        self.first_welcome_at = inf
        self.epoch_changes = 0
        self.gaps = 0
        self.closes: list[SocketClose] = []
        self._replica = ""
        self._session = session
        self._url = url
        self._position: tuple[str, int] | None = None
        self._reload_pending = False

    async def run(self) -> None:
        while True:
            with suppress(aiohttp.ClientError, OSError, TimeoutError, WebSocketException):
                try:
                    await self._hold_socket()
                except ConnectionClosed as error:
                    now, code = asyncio.get_running_loop().time(), error.rcvd and error.rcvd.code
                    self.closes.append(SocketClose(now, self._replica, code))
                    raise
            self.live.clear()
            await asyncio.sleep(random.uniform(*RECONNECT_SECONDS))

    async def _hold_socket(self) -> None:
        headers = {"X-User-Id": self.user_id}
        async with self._session.post(
            f"{self._url}/api/notifications/tickets", headers=headers, timeout=REQUEST_TIMEOUT
        ) as response:
            if response.status != 201:
                return
            ticket = (await response.json())["ticket"]
        query = "" if self._position is None else "?e={}&o={}".format(*self._position)
        async with websockets.connect(
            f"ws://{urlsplit(self._url).netloc}/ws{query}",
            subprotocols=[Subprotocol("gozon.v1"), Subprotocol(f"ticket.{ticket}")],
            origin=Origin(self._url),
            compression=None,
            close_timeout=1,
            proxy=None,
        ) as connection:
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._handle(connection, json.loads(await connection.recv()))

    async def _handle(self, connection: ClientConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "welcome":
            await self._on_welcome(frame)
            self.live.set()
        elif frame["type"] == "order":
            self._show(frame)
        elif frame["type"] == "ping":
            await connection.send(PONG)

    async def _on_welcome(self, frame: dict[str, Any]) -> None:
        previous, self._position = self._position, (frame["epoch"], frame["offset"])
        self._replica = frame["replica"]
        for missed in frame["missed"]:
            self._show(missed)
        if previous is None:
            self.first_welcome_at = asyncio.get_running_loop().time()
            return
        epoch_changed = previous[0] != frame["epoch"]
        self.epoch_changes += epoch_changed
        if not frame["recovered"]:
            self.gaps += not epoch_changed
            self._reload_pending = True
        if self._reload_pending:  # from this welcome, or from an earlier one whose reload failed
            await self._reload()
            self._reload_pending = False

    def _show(self, frame: dict[str, Any]) -> None:
        assert self._position is not None
        epoch, offset = self._position
        self._position = epoch, max(offset, frame["o"])
        order = frame["order"]
        self.toasts[Toast(epoch, order["id"], order["version"], order["status"])] += 1
        self.shown.add(order["id"])
        self.toast_times.append(asyncio.get_running_loop().time())

    async def _reload(self) -> None:
        orders = await read_all_items(self._session, self._url, "/api/orders", self.user_id)
        self.shown |= {order["id"] for order in orders if order["status"] != "NEW"}
