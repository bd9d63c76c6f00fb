"""A cheap WebSocket client for measurements of push servers, and a publisher for Redis."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import hiredis

from loadtest.websocket import WebSocket, handshake

WELCOME_SECONDS = 30

FAILURES: list[str] = []
"""Unexpected errors of sockets and Redis. If there is one, the benchmark fails."""


class BenchSocket(WebSocket):
    """A socket that counts published frames and measures their latency.

    `reply_to` returns the reply to a frame of the protocol (empty for none), and None for a published frame.
    `hello` is sent after the handshake. A frame that starts with `welcomed` completes the future `welcome`.
    """

    def __init__(
        self, handshake: bytes, hello: bytes, reply_to: Callable[[bytes], bytes | None], welcomed: bytes
    ) -> None:
        super().__init__(handshake)
        self._hello = hello
        self._reply_to = reply_to
        self._welcomed = welcomed
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent_at: deque[float] = deque()
        self.delivered = 0
        self.latencies: list[float] = []

    def on_upgraded(self) -> None:
        if self._hello:
            self.send_text(self._hello)

    def on_text(self, text: bytes, at: float) -> None:
        if not self.welcome.done() and text.startswith(self._welcomed):
            self.welcome.set_result(None)
        elif (reply := self._reply_to(text)) is not None:
            if reply:
                self.send_text(reply)
        else:
            self.delivered += 1
            if self.sent_at:
                self.latencies.append(at - self.sent_at.popleft())

    def on_lost(self, why: str) -> None:
        FAILURES.append(why)
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionError(why))


class Redis(asyncio.Protocol):
    """Writes commands without waiting for the replies. An error reply is added to FAILURES."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if isinstance(reply, hiredis.HiredisError):
                FAILURES.append(str(reply))

    def send(self, commands: Sequence[bytes]) -> None:
        self._transport.write(b"".join(commands))


async def redis_at(port: int) -> Redis:
    _, protocol = await asyncio.get_running_loop().create_connection(Redis, "127.0.0.1", port)
    return protocol


async def open_socket(
    port: int, path: str, protocols: str, reply_to: Callable[[bytes], bytes | None], hello: bytes, welcomed: bytes
) -> BenchSocket:
    """Returns the socket after its welcome frame. Raises TimeoutError after WELCOME_SECONDS without one."""
    host = f"127.0.0.1:{port}"
    head = handshake(path, host, f"http://{host}", protocols)
    _, socket = await asyncio.get_running_loop().create_connection(
        lambda: BenchSocket(head, hello, reply_to, welcomed), "127.0.0.1", port
    )
    async with asyncio.timeout(WELCOME_SECONDS):
        await socket.welcome
    return socket
