"""A WebSocket client for load generators, on a bare asyncio protocol. It reads only unfragmented text frames."""

import asyncio
import time
from typing import cast

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
# The key is the example of RFC 6455, section 1.3. It need not be random, because this client does not check the
# server's Sec-WebSocket-Accept.
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocols}\r\n"
)


def handshake(path: str, host: str, origin: str, protocols: str = "") -> bytes:
    line = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
    return HANDSHAKE.format(path=path, host=host, origin=origin, protocols=line).encode()


def masked(text: bytes, first: int = TEXT) -> bytes:
    """Returns a client's frame of at most 125 bytes. Its mask is zeros, which leave the text unchanged."""
    return bytes([first, 0x80 | len(text)]) + bytes(4) + text


class WebSocket(asyncio.Protocol):
    """One connection. Subclasses implement `on_text` and `on_lost`, and can override `on_upgraded`."""

    def __init__(self, handshake: bytes) -> None:
        self._handshake = handshake
        self._buffer = b""
        self._upgraded = False
        self._closed = False

    def on_upgraded(self) -> None:
        """Called after the handshake."""

    def on_text(self, text: bytes, at: float) -> None:
        """Called with each text frame; `at` is a time of `time.perf_counter`."""
        raise NotImplementedError

    def on_lost(self, why: str) -> None:
        """Called once if the connection ends without a call of `close`."""
        raise NotImplementedError

    def send_text(self, text: bytes) -> None:
        if not self._closed:
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
        while self._upgraded and end - at >= 2 and not self._closed:
            length, start = data[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif length == 127:
                length, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if start + length > end:  # also while bytes of the length itself are missing
                break
            self._frame(data[at], data[start : start + length], now)
            at = start + length
        self._buffer = data[at:]

    def _upgrade(self, data: bytes) -> int:
        """Returns where the frames start in `data`, or 0 while the response head is incomplete."""
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return 0
        if not data.startswith(b"HTTP/1.1 101"):
            self._fail(f"refused: {data[9:12].decode()}")
        else:
            self._upgraded = True
            self.on_upgraded()
        return head + 4

    def _frame(self, first: int, payload: bytes, now: float) -> None:
        if first == TEXT:
            self.on_text(payload, now)
        elif first == PING:
            self.transport.write(masked(payload, PONG))
        elif first == CLOSE:
            self._fail(f"closed with {int.from_bytes(payload[:2])}")
        else:
            self._fail(f"a frame of the kind {first:#x}")

    def close(self) -> None:
        """Aborts the connection without a close frame and without a call of `on_lost`."""
        self._closed = True
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost: {exc!r}" if exc else "connection lost")

    def _fail(self, why: str) -> None:
        if not self._closed:
            self.close()
            self.on_lost(why)
