"""WebSockets that cost as little as possible beside what they measure, and a way to publish in Redis."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import hiredis

from loadtest.websocket import WebSocket, handshake

WELCOME_SECONDS = 30

FAILURES: list[str] = []
"""What nobody expected; no figure counts when there is one."""


class BenchSocket(WebSocket):
    """`answers` gives what to reply to a frame, or None when it is one that was published."""

    def __init__(
        self, handshake: bytes, hello: bytes, answers: Callable[[bytes], bytes | None], welcomed: bytes
    ) -> None:
        super().__init__(handshake)
        self._hello = hello
        self._answers = answers
        self._welcomed = welcomed
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent_at: deque[float] = deque()
        self.delivered = 0
        self.latencies: list[float] = []

    def upgraded(self) -> None:
        if self._hello:
            self.say(self._hello)

    def told(self, text: bytes, at: float) -> None:
        if not self.welcome.done() and text.startswith(self._welcomed):
            self.welcome.set_result(None)
        elif (answer := self._answers(text)) is not None:
            if answer:
                self.say(answer)
        else:
            self.delivered += 1
            if self.sent_at:
                self.latencies.append(at - self.sent_at.popleft())

    def lost(self, why: str) -> None:
        FAILURES.append(why)
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionError(why))


class Redis(asyncio.Protocol):
    """Writes commands without waiting for their answers, which it counts."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self.answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if isinstance(reply, hiredis.HiredisError):
                FAILURES.append(str(reply))
            self.answered += 1

    def send(self, commands: Sequence[bytes]) -> None:
        self._transport.write(b"".join(commands))


async def redis_at(port: int) -> Redis:
    _, protocol = await asyncio.get_running_loop().create_connection(Redis, "127.0.0.1", port)
    return protocol


async def open_socket(
    port: int, path: str, protocols: str, answers: Callable[[bytes], bytes | None], hello: bytes, welcomed: bytes
) -> BenchSocket:
    """Returns when it is welcomed."""
    host = f"127.0.0.1:{port}"
    head = handshake(path, host, f"http://{host}", protocols)
    _, socket = await asyncio.get_running_loop().create_connection(
        lambda: BenchSocket(head, hello, answers, welcomed), "127.0.0.1", port
    )
    async with asyncio.timeout(WELCOME_SECONDS):
        await socket.welcome
    return socket
