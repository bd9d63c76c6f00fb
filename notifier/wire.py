"""uvicorn's WebSocket protocol, extended to write frames that are already encoded.

A server does not mask its WebSocket frames, so the same bytes are valid for every socket. The hub encodes a frame
once and writes it to all sockets of a user with `try_send`. ASGI's `send` would encode it again for each socket.

uvicorn creates one WebSocketProtocol per connection. An ASGI handler gets it from its scope with `wire_of`.

Slow readers: nothing is queued for a socket beyond its write buffer of HIGH_WATER bytes. If the buffer is full,
`try_send` refuses the frame, and the hub reads it from the user's stream later. If the buffer does not shrink for
SLOW_SECONDS, the socket is closed.
"""

from asyncio import BaseTransport, TimerHandle
from typing import Any, cast

import structlog
from litestar.types import Scope
from prometheus_client import Counter
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.protocol import OPEN

from notifier.close_codes import Close, restart_reason

EXTENSION = "gozon.wire"
# Limits of the write buffer of a socket. The buffers of the kernel come on top.
HIGH_WATER, LOW_WATER = 16 * 1024, 4 * 1024
SLOW_SECONDS = 10
CLOSE_SECONDS = 2
# All incoming bytes count, so that a flood of ping frames or empty fragments is limited as well.
BYTES_PER_SECOND, BYTE_BURST = 2 * 1024, 16 * 1024

CLOSED = Counter("gozon_sockets_closed", "Sockets that this side closed, by close code", ["code"])

log = structlog.get_logger()


def text_frame(text: bytes) -> bytes:
    """Returns `text` as an unmasked WebSocket text frame.

    RFC 6455, section 5.2: the FIN bit and opcode 1, then the length in 7 bits, or in 16 or 64 bits after a marker.
    """
    length = len(text)
    if length < 126:
        return b"\x81%c%b" % (length, text)
    if length < 65_536:
        return b"\x81\x7e%b%b" % (length.to_bytes(2), text)
    return b"\x81\x7f%b%b" % (length.to_bytes(8), text)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """The WebSocket of one client.

    uvicorn writes each of its own frames to the transport immediately and completely. So frames of `try_send` can
    be written between them.

    This class relies on attributes of uvicorn's class: `writable`, `close_sent`, `handshake_complete`, `frames` and
    `conn`. If a new version of uvicorn changes them, tests with a stuck client and with every close code fail.
    """

    _slow: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self._allowance, self._counted = float(BYTE_BURST), self.loop.time()
        cast("Any", self.transport.get_protocol()).parser = None  # the HTTP parser of the upgrade request

    def connection_lost(self, exc: Exception | None) -> None:
        """Cuts reference cycles, so that a closed socket is freed without the garbage collector.

        The collector seldom looks at old objects (`tune_garbage_collector`). Closed sockets, 10 KiB each, would
        pile up until then. `connection_made` and `run_asgi` cut cycles for the same reason.
        """
        super().connection_lost(exc)
        self._stop_watching()
        self.conn.parser.close()

    def shutdown(self) -> None:
        """Closes a socket that is still open when uvicorn stops, as the drain closes all others.

        Such a socket was accepted while the drain began. uvicorn's own method sends no reason with a delay. It also
        cancels the timer of `close_with`, so that a client that reads nothing would delay the stop until uvicorn's
        timeout. A handshake under way is refused by its handler.
        """
        self.close_with(Close.RESTARTING, restart_reason())

    def data_received(self, data: bytes) -> None:
        if self.handshake_complete and not self._within_byte_limit(len(data)):
            self.close_with(Close.TOO_MUCH, Close.TOO_MUCH.reason)
        super().data_received(data)
        if not self.handshake_initiated:
            # The handshake has too many headers. uvicorn would keep the connection open and never respond.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        """Closes with 1007 if a text message is not UTF-8. uvicorn would log this client error with a traceback."""
        if self.curr_msg_data_type == "bytes" or self.close_sent or _is_utf8(b"".join(self.frames)):
            super().send_receive_event_to_app()
        else:
            self.close_with(CloseCode.INVALID_DATA, "not UTF-8")

    def handle_parser_exception(self) -> None:
        """Counts a socket that the WebSocket library closes for a protocol error: 1002, 1007 or 1009."""
        if not self.close_sent and self.conn.close_sent is not None:
            _count(self.conn.close_sent.code)
        super().handle_parser_exception()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_progress()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def _watch_progress(self) -> None:
        buffered = self.transport.get_write_buffer_size()
        self._slow = self.loop.call_later(SLOW_SECONDS, self._check_progress, buffered)

    def _check_progress(self, buffered_before: int) -> None:
        """Closes the socket if its client has read nothing of a full write buffer for SLOW_SECONDS."""
        if self.transport.get_write_buffer_size() < buffered_before:
            self._watch_progress()
        else:
            self.close_with(Close.TOO_SLOW, Close.TOO_SLOW.reason)

    def _stop_watching(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _within_byte_limit(self, size: int) -> bool:
        """Takes `size` from a token bucket of BYTE_BURST bytes, which refills at BYTES_PER_SECOND."""
        now = self.loop.time()
        self._allowance = min(BYTE_BURST, self._allowance + (now - self._counted) * BYTES_PER_SECOND) - size
        self._counted = now
        return self._allowance >= 0

    async def run_asgi(self) -> None:
        extensions = cast("Any", self.scope)["extensions"]
        extensions[EXTENSION] = self
        await super().run_asgi()
        extensions.clear()

    async def send(self, message: Any) -> None:
        """Marks a refused handshake as complete after its response. uvicorn would log an error otherwise."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True

    def forget_handshake(self) -> None:
        """Clears the headers of the handshake, a fifth of the memory of a socket."""
        self.request.headers.clear()
        self.response.headers.clear()
        cast("list[Any]", self.scope["headers"]).clear()

    def try_send(self, frame: bytes) -> bool:
        """Writes an encoded frame without waiting. Returns False, and writes nothing, if the write buffer is full.

        For a socket that is closing it returns True and writes nothing: its handler is about to end.
        """
        if not self.writable.is_set():
            return False
        if not self.close_sent and not self.transport.is_closing():
            self.transport.write(frame)
        return True

    async def drained(self) -> None:
        """Returns when the write buffer has drained, or the connection is lost."""
        await self.writable.wait()

    def close_with(self, code: int, reason: str) -> None:
        """Sends a close frame. If the client has not closed the connection after CLOSE_SECONDS, it is aborted.

        The abort drops the frames that are still in the write buffer. Does nothing if the socket is closing
        already.
        """
        if self.close_sent or self.transport.is_closing() or self.conn.state is not OPEN:
            return
        _count(code)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)


def _count(code: int) -> None:
    CLOSED.labels(code).inc()
    log.debug("socket closed", code=code)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def wire_of(scope: Scope) -> WebSocketProtocol:
    return cast("WebSocketProtocol", cast("Any", scope)["extensions"][EXTENSION])
