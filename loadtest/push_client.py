"""WebSockets that cost as little as possible beside what they measure, and a way to publish in Redis."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import hiredis

WELCOME_SECONDS = 30
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocols}\r\n"
)


FAILURES: list[str] = []
"""What nobody expected; no figure counts when there is one."""


def masked(text: bytes, first: int = 0x81) -> bytes:
    """A client's frame. The mask of zeros is allowed, and leaves the text as it is."""
    return bytes([first]) + bytes([0x80 | len(text)]) + bytes(4) + text


class Socket(asyncio.Protocol):
    """`answers` gives what to reply to a frame, or None when it is one that was published."""

    def __init__(
        self, handshake: bytes, hello: bytes, answers: Callable[[bytes], bytes | None], welcomed: bytes
    ) -> None:
        self._handshake = handshake
        self._hello = hello
        self._answers = answers
        self._welcomed = welcomed
        self._buffer = b""
        self._upgraded = False
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent_at: deque[float] = deque()
        self.delivered = 0
        self.latencies: list[float] = []
        self.last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._handshake)

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        at = 0
        if not self._upgraded:
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:
                self._buffer = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                FAILURES.append(f"refused: {data[:200]!r}")
            self._upgraded = True
            self.transport.write(masked(self._hello) if self._hello else b"")
        end = len(data)
        while end - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif length == 127:
                length, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if start + length > end:
                break
            self._frame(data[at], data[start : start + length])
            at = start + length
        self._buffer = data[at:]

    def _frame(self, first: int, text: bytes) -> None:
        if first == 0x89:
            self.transport.write(masked(text, 0x8A))
        elif first != 0x81:
            FAILURES.append(f"not a text frame: {first:#x} {text!r}")
        elif not self.welcome.done() and text.startswith(self._welcomed):
            self.welcome.set_result(None)
        elif (answer := self._answers(text)) is not None:
            self.transport.write(masked(answer) if answer else b"")
        else:
            self.delivered += 1
            self.last = text
            if self.sent_at:
                self.latencies.append(time.perf_counter() - self.sent_at.popleft())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.welcome.done():
            self.welcome.set_exception(exc or ConnectionError("closed before the welcome"))


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
) -> Socket:
    """Returns when it is welcomed."""
    host = f"127.0.0.1:{port}"
    line = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
    head = HANDSHAKE.format(path=path, host=host, origin=f"http://{host}", protocols=line).encode()
    _, socket = await asyncio.get_running_loop().create_connection(
        lambda: Socket(head, hello, answers, welcomed), "127.0.0.1", port
    )
    async with asyncio.timeout(WELCOME_SECONDS):
        await socket.welcome
    return socket
