"""A page of the shop that stays open: it keeps a socket and reconnects like web/src/socket.ts."""

import asyncio
import json
import random
import time
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.support import Caller

MIN_DELAY_SECONDS, MAX_DELAY_SECONDS = 0.5, 2
ACK_EVERY_SECONDS = 1
SILENCE_SECONDS = 40


class Close(msgspec.Struct, frozen=True):
    replica: str
    code: int | None
    reason: str
    at: float

    @property
    def hint(self) -> int | None:
        """Milliseconds until the page should reconnect, if the close frame says so."""
        try:
            return json.loads(self.reason)["retry_after_ms"]
        except ValueError:
            return None


class Shown(msgspec.Struct, frozen=True):
    """An order frame. `missed`: it was in a welcome frame."""

    offset: int
    order: dict[str, Any]
    missed: bool


class Page:
    """A page that runs until it is cancelled.

    `live_on` is the replica of its open socket. `shown`, `closes` and `refusals` record order frames, closed
    sockets and failed attempts to open one. `unrecovered` counts welcomes that could not recover all missed frames.
    """

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.live_on: str | None = None
        self.shown: list[Shown] = []
        self.closes: list[Close] = []
        self.refusals: list[str] = []
        self.unrecovered = 0
        self._position: tuple[str, int] | None = None
        self._ack_pending = asyncio.Event()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(await self._hold_socket())

    async def _hold_socket(self) -> float:
        """Opens one socket and reads it to its end. Returns the seconds until the page reconnects."""
        random_delay = random.uniform(MIN_DELAY_SECONDS, MAX_DELAY_SECONDS)  # noqa: S311
        try:
            response = await self.caller.call("POST", "/api/notifications/tickets")
            if response.status != 201:
                self.refusals.append(f"ticket: {response.status}")
                return random_delay
            connection = await self.caller.connect(query=self._query(), ticket=response.body["ticket"])
        except (aiohttp.ClientError, OSError, WebSocketException) as error:
            self.refusals.append(repr(error))
            return random_delay
        acking = asyncio.create_task(self._acknowledge(connection))
        with suppress(ConnectionClosed, TimeoutError):
            await self._listen(connection)
        acking.cancel()
        await connection.close()
        close = Close(self.live_on or "", connection.close_code, connection.close_reason or "", time.monotonic())
        self.live_on = None
        self.closes.append(close)
        return random_delay if close.hint is None else max(MIN_DELAY_SECONDS, close.hint / 1000)

    def _query(self) -> str:
        return "" if self._position is None else "?e={}&o={}".format(*self._position)

    async def _listen(self, connection: ClientConnection) -> None:
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                frame = json.loads(await connection.recv())
            if frame["type"] == "welcome":
                self._on_welcome(frame)
            elif frame["type"] == "order":
                self._show(frame, missed=False)
            elif frame["type"] == "ping":
                await connection.send('{"type":"pong"}')

    def _on_welcome(self, welcome: dict[str, Any]) -> None:
        self.live_on = welcome["replica"]
        self.unrecovered += not welcome["recovered"]
        for frame in welcome["missed"]:
            self._show(frame, missed=True)
        self._position = welcome["epoch"], welcome["offset"]

    def _show(self, frame: dict[str, Any], *, missed: bool) -> None:
        self.shown.append(Shown(frame["o"], frame["order"], missed))
        if self._position is not None:
            epoch, offset = self._position
            self._position = epoch, max(offset, frame["o"])
            self._ack_pending.set()

    async def _acknowledge(self, connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._ack_pending.wait()
                self._ack_pending.clear()
                assert self._position is not None
                await connection.send(json.dumps({"type": "ack", "o": self._position[1]}))
                await asyncio.sleep(ACK_EVERY_SECONDS)
