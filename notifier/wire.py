"""uvicorn's WebSocket with a short way for frames that are encoded already.

A frame from a server is not masked, so one and the same is right for every socket, while ASGI's `send` would
encode it again for each. A handler finds its wire in the scope's extensions.
"""

from asyncio import BaseTransport, TimerHandle
from typing import Any, cast

import structlog
from litestar.types import Scope
from prometheus_client import Counter
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.protocol import OPEN

from notifier.close_codes import Close, come_back_later

EXTENSION = "gozon.wire"
# What a socket that takes nothing may hold of ours; the kernel's own buffers come on top.
HIGH_WATER, LOW_WATER = 16 * 1024, 4 * 1024
SLOW_SECONDS = 10
PARTING_SECONDS = 2
# Whatever comes in counts, so that pings and empty fragments cost their sender as messages do.
BYTES_A_SECOND, BYTES_AT_ONCE = 2 * 1024, 16 * 1024

CLOSED = Counter("gozon_sockets_closed", "Sockets closed by this side, by why", ["code"])

log = structlog.get_logger()


def text_frame(text: bytes) -> bytes:
    """RFC 6455, section 5.2: final, text, not masked, with its length in 7 bits, 16 or 64."""
    length = len(text)
    if length < 126:
        return b"\x81%c%b" % (length, text)
    if length < 65_536:
        return b"\x81\x7e%b%b" % (length.to_bytes(2), text)
    return b"\x81\x7f%b%b" % (length.to_bytes(8), text)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Frames of `offer` go out between those of uvicorn, which flushes what it writes at once.

    It relies on `writable`, `close_sent`, `handshake_complete`, `frames` and `conn` of uvicorn; tests hold a
    socket that takes nothing beside one that does, and try every way to close.

    A client that takes nothing of a full write buffer for SLOW_SECONDS is closed, whatever the buffer holds.
    """

    _slow: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self._allowance, self._counted = float(BYTES_AT_ONCE), self.loop.time()
        cast("Any", self.transport.get_protocol()).parser = None  # of the HTTP that this was until now

    def connection_lost(self, exc: Exception | None) -> None:
        """Leaves no cycle behind, here and where else one is cut.

        The collector, which seldom looks at what is old (`tune_garbage_collector`), would let the sockets that
        have ended pile up: 10 KiB each.
        """
        super().connection_lost(exc)
        self._stop_watching()
        self.conn.parser.close()

    def shutdown(self) -> None:
        """Whoever was let in after the drain had begun is sent away as all the others were.

        uvicorn's own gives no hint, and stops the timer of `part`, so that one that takes nothing would hold
        up the end until uvicorn's patience is over. A handshake under way is refused by its handler.
        """
        self.close_with(Close.RESTARTING, come_back_later())

    def data_received(self, data: bytes) -> None:
        if self.handshake_complete and not self._affords(len(data)):
            self.close_with(Close.TOO_MUCH, Close.TOO_MUCH.reason)
        super().data_received(data)
        if not self.handshake_initiated:
            # The handshake has too many headers. uvicorn would keep the connection open and never answer.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        """Closes with 1007 for text that is not UTF-8; uvicorn would log the client's mistake with a traceback."""
        if self.curr_msg_data_type == "bytes" or self.close_sent or _is_utf8(b"".join(self.frames)):
            super().send_receive_event_to_app()
        else:
            self.close_with(CloseCode.INVALID_DATA, "not UTF-8")

    def handle_parser_exception(self) -> None:
        """Counts a socket whose client broke the WebSocket protocol itself: 1002, 1007 or 1009."""
        if not self.close_sent and self.conn.close_sent is not None:
            _count(self.conn.close_sent.code)
        super().handle_parser_exception()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def _watch(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._slow = self.loop.call_later(SLOW_SECONDS, self._look_again, waiting)

    def _look_again(self, waited: int) -> None:
        if self.transport.get_write_buffer_size() < waited:
            self._watch()
        else:
            self.close_with(Close.TOO_SLOW, Close.TOO_SLOW.reason)

    def _stop_watching(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _affords(self, size: int) -> bool:
        now = self.loop.time()
        self._allowance = min(BYTES_AT_ONCE, self._allowance + (now - self._counted) * BYTES_A_SECOND) - size
        self._counted = now
        return self._allowance >= 0

    async def run_asgi(self) -> None:
        extensions = cast("Any", self.scope)["extensions"]
        extensions[EXTENSION] = self
        await super().run_asgi()
        extensions.clear()

    async def send(self, message: Any) -> None:
        """Completes a handshake that is refused with a response; uvicorn would log an error for it."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True

    def forget_handshake(self) -> None:
        """Headers of request and answer would stay as long as the socket: a fifth of its memory."""
        self.request.headers.clear()
        self.response.headers.clear()
        cast("list[Any]", self.scope["headers"]).clear()

    def try_send(self, frame: bytes) -> bool:
        """Writes without waiting. False when the socket cannot take more now, and then nothing was written."""
        if not self.writable.is_set():
            return False
        if not self.close_sent and not self.transport.is_closing():
            self.transport.write(frame)
        return True  # one that is closing has a handler that is about to notice

    async def drained(self) -> None:
        """Returns when the socket can take more, or is gone."""
        await self.writable.wait()

    def close_with(self, code: int, reason: str) -> None:
        """Closes. Also one that takes nothing is gone after PARTING_SECONDS, with all that waited for it."""
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
        self.close_timer = self.loop.call_later(PARTING_SECONDS, self.transport.abort)


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
