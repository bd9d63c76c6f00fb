"""A page of the shop that stays open: it holds a socket and comes back as web/src/socket.ts does."""

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

MIN_DELAY_SECONDS, FIRST_CEILING_SECONDS = 0.5, 2
ACK_EVERY_SECONDS = 1
SILENCE_SECONDS = 40


class Close(msgspec.Struct, frozen=True):
    replica: str
    code: int | None
    reason: str
    at: float

    @property
    def hint(self) -> int | None:
        """Milliseconds until the page shall come back, if it was told."""
        try:
            return json.loads(self.reason)["retry_after_ms"]
        except ValueError:
            return None


class Shown(msgspec.Struct, frozen=True):
    """An order frame as the page got it."""

    offset: int
    order: dict[str, Any]
    missed: bool


class Page:
    """`shown`, `closes` and `refusals` are all that ever happened to it; `live_on` is where its socket is now."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.live_on: str | None = None
        self.shown: list[Shown] = []
        self.closes: list[Close] = []
        self.refusals: list[str] = []
        self.unrecovered = 0
        self._position: tuple[str, int] | None = None
        self._to_ack = asyncio.Event()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(await self._visit())

    async def _visit(self) -> float:
        """One socket, from its ticket to its end; returns how long to stay away."""
        random_delay = random.uniform(MIN_DELAY_SECONDS, FIRST_CEILING_SECONDS)  # noqa: S311
        try:
            answer = await self.caller.call("POST", "/api/notifications/tickets")
            if answer.status != 201:
                self.refusals.append(f"ticket: {answer.status}")
                return random_delay
            connection = await self.caller.connect(query=self._query(), ticket=answer.body["ticket"])
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
                self._welcomed(frame)
            elif frame["type"] == "order":
                self._show(frame, missed=False)
            elif frame["type"] == "ping":
                await connection.send('{"type":"pong"}')

    def _welcomed(self, welcome: dict[str, Any]) -> None:
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
            self._to_ack.set()

    async def _acknowledge(self, connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._to_ack.wait()
                self._to_ack.clear()
                assert self._position is not None
                await connection.send(json.dumps({"type": "ack", "o": self._position[1]}))
                await asyncio.sleep(ACK_EVERY_SECONDS)
