"""A client's end of a WebSocket that costs as little as possible: whole text frames on a bare asyncio protocol."""

import asyncio
import time
from typing import cast

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
# The key need not be random for a server that is ours, and nobody looks at what the server makes of it.
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocols}\r\n"
)


def handshake(path: str, host: str, origin: str, protocols: str = "") -> bytes:
    line = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
    return HANDSHAKE.format(path=path, host=host, origin=origin, protocols=line).encode()


def masked(text: bytes, first: int = TEXT) -> bytes:
    """A client's frame of at most 125 bytes. The mask of zeros is allowed, and leaves the text as it is."""
    return bytes([first, 0x80 | len(text)]) + bytes(4) + text


class WebSocket(asyncio.Protocol):
    """What a frame means, and what it means that the socket is gone, is said by a class that inherits."""

    def __init__(self, handshake: bytes) -> None:
        self._handshake = handshake
        self._buffer = b""
        self._upgraded = False
        self._gone = False

    def upgraded(self) -> None:
        """The server has agreed."""

    def told(self, text: bytes, at: float) -> None:
        """A text came; `at` is a time of `time.perf_counter`."""
        raise NotImplementedError

    def lost(self, why: str) -> None:
        raise NotImplementedError

    def say(self, text: bytes) -> None:
        if not self._gone:
            self.transport.write(masked(text))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._handshake)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        data = self._buffer + data if self._buffer else data
        at, end = 0, len(data)
        if not self._upgraded:
            at = self._upgrade(data)
        while self._upgraded and end - at >= 2 and not self._gone:
            length, start = data[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif length == 127:
                length, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if start + length > end:  # also when the length itself is not complete
                break
            self._frame(data[at], data[start : start + length], now)
            at = start + length
        self._buffer = data[at:]

    def _upgrade(self, data: bytes) -> int:
        """Where the frames start; 0 while the head of the answer is not complete."""
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return 0
        if not data.startswith(b"HTTP/1.1 101"):
            self._end(f"refused: {data[9:12].decode()}")
        else:
            self._upgraded = True
            self.upgraded()
        return head + 4

    def _frame(self, first: int, payload: bytes, now: float) -> None:
        if first == TEXT:
            self.told(payload, now)
        elif first == PING:
            self.transport.write(masked(payload, PONG))
        elif first == CLOSE:
            self._end(f"closed with {int.from_bytes(payload[:2])}")
        else:
            self._end(f"a frame of the kind {first:#x}")

    def close(self) -> None:
        """Without a word to the server, and without a call of `lost`."""
        self._gone = True
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"connection lost: {exc!r}" if exc else "connection lost")

    def _end(self, why: str) -> None:
        if not self._gone:
            self.close()
            self.lost(why)
