"""The WebSocket endpoint `/ws?e=<epoch>&o=<offset>`: handshake, tickets, client messages, pings and closing.

The life of a socket:

1. The handshake is refused if the replica is stopping (503) or the page's origin is not allowed (403).
2. The ticket from the subprotocol list is redeemed, which gives the user. A bad ticket closes the socket.
3. The socket joins the hub, which sends the welcome. `e` and `o` are the position of a client that reconnects.
4. SocketSession receives client messages, pings a silent client, and asks for a new ticket before the identity
   expires. It returns a close code, or None if the client has closed the socket.
5. The socket leaves the hub.

docs/push.md describes the protocol for client authors.
"""

import asyncio
import math
import re
from contextlib import suppress
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qs

import msgspec
import structlog
from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send, WebSocketReceiveEvent, WebSocketScope
from prometheus_client import Counter
from redis.exceptions import RedisError
from uvicorn.protocols.utils import ClientDisconnected

from notifier.close_codes import Close
from notifier.hub import Hub, Socket
from notifier.messages import Ack, Pong, Renew, RenewTicket, decode_client_frame, encode
from notifier.streams import Position
from notifier.tickets import Tickets
from notifier.wire import text_frame, wire_of
from shopkit.web.problems import Problem

SUBPROTOCOL = "gozon.v1"
TICKET_PREFIX = "ticket."
JOIN_SECONDS = 10
RENEW_WITHIN_SECONDS = 60
RENEW_RETRY_SECONDS = 1
# A client needs one acknowledgement per second at most, and a pong now and then.
MESSAGES_PER_SECOND, MESSAGE_BURST = 5, 20

REFUSED = Counter("gozon_sockets_refused", "WebSocket handshakes that were refused, by HTTP status", ["status"])

log = structlog.get_logger()


class Rules(msgspec.Struct, frozen=True):
    """Limits for every socket.

    `identity_seconds` is how long a socket can live on one ticket. `ping_seconds` is the silence after which a
    client is pinged, and `pong_seconds` the time it has for any answer.
    """

    allowed_origins: frozenset[str]
    identity_seconds: float
    ping_seconds: float
    pong_seconds: float


class SocketEndpoint:
    """Accepts WebSockets. While `draining`, because the replica is stopping, it refuses new ones."""

    def __init__(self, hub: Hub, tickets: Tickets, rules: Rules) -> None:
        self._hub = hub
        self._tickets = tickets
        self._rules = rules
        self.draining = False

    def handler(self) -> ASGIRouteHandler:
        """Returns a plain ASGI handler. Litestar would keep its WebSocket objects as long as a socket is open."""

        @asgi("/ws", copy_scope=False)
        async def order_socket(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "websocket":
                raise Problem(HTTPStatus.UPGRADE_REQUIRED, "websocket-only", "This address speaks WebSocket only.")
            with suppress(ClientDisconnected):
                await self._handle(scope, receive, send)

        return order_socket

    async def _handle(self, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if self.draining:
            # nginx then tries another replica. The ticket was not redeemed, so it is still valid there.
            await _refuse(send, HTTPStatus.SERVICE_UNAVAILABLE)
        elif _origin(scope) not in self._rules.allowed_origins:
            await _refuse(send, HTTPStatus.FORBIDDEN)
        else:
            await self._accept(scope, receive, send)

    async def _accept(self, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        offered = scope["subprotocols"]
        accepted = SUBPROTOCOL if SUBPROTOCOL in offered else None
        await send({"type": "websocket.accept", "subprotocol": accepted, "headers": []})
        wire_of(scope).forget_handshake()
        ticket = next((name for name in offered if name.startswith(TICKET_PREFIX)), "")
        code = await self._serve(scope, receive, ticket.removeprefix(TICKET_PREFIX))
        if code is not None:
            wire_of(scope).close_with(code, code.reason)

    async def _serve(self, scope: WebSocketScope, receive: Receive, ticket: str) -> Close | None:
        try:
            user_id = await self._tickets.redeem(ticket)
            if user_id is None:
                return Close.BAD_TICKET
            socket = Socket(user_id, wire_of(scope))
            try:
                async with asyncio.timeout(JOIN_SECONDS):
                    await self._hub.join(socket, _since(scope["query_string"]))
                return await SocketSession(socket, self._hub, self._tickets, self._rules, receive).run()
            finally:
                self._hub.leave(socket)
        except (RedisError, TimeoutError) as error:
            log.warning("socket closed: Redis is unavailable", error=repr(error))
            return Close.TRY_AGAIN
        except Exception:
            log.exception("socket failed")
            return Close.INTERNAL_ERROR


class SocketSession:
    """Receives the messages of one client, and enforces its rate limit and its deadlines.

    All times are of the event loop's clock, in seconds:

    - `_last_message_at`: when the last message came.
    - `_reported`: when `hub.heard` was last called, which renews the socket's lease in Redis.
    - `_due`: when the client must be pinged; after a ping, when its answer is overdue.
    - `_renew`: when the client must be asked for a new ticket.
    - `_expires`: when the identity ends.
    """

    __slots__ = (
        *(
            "_allowance",
            "_reported",
            "_due",
            "_expires",
            "_last_message_at",
            "_hub",
            "_pinged",
            "_receive",
            "_renew",
        ),
        *("_rules", "_socket", "_tickets"),
    )

    def __init__(self, socket: Socket, hub: Hub, tickets: Tickets, rules: Rules, receive: Receive) -> None:
        self._socket = socket
        self._hub = hub
        self._tickets = tickets
        self._rules = rules
        self._receive = receive
        self._last_message_at = self._reported = _now()
        self._due = self._last_message_at + rules.ping_seconds
        self._pinged = False
        self._allowance = float(MESSAGE_BURST)
        self._start_identity()

    async def run(self) -> Close | None:
        """Returns None when the client has closed the socket, or the code with which it must be closed."""
        while True:
            try:
                async with asyncio.timeout_at(min(self._due, self._renew)):
                    message = await self._receive()
            except TimeoutError:
                code = self._on_deadline()
            else:
                if message["type"] == "websocket.disconnect":
                    return None
                code = await self._handle_message(cast("WebSocketReceiveEvent", message))
            if code is not None:
                return code

    def _start_identity(self) -> None:
        """Starts the time that one ticket gives, and sets when the client is asked for the next ticket."""
        lifetime = self._rules.identity_seconds
        self._expires = _now() + lifetime
        self._renew = self._expires - min(RENEW_WITHIN_SECONDS, lifetime / 2)

    def _on_deadline(self) -> Close | None:
        """Asks for a new ticket or pings, whichever is due. Returns a close code if a deadline was missed.

        If the write buffer is full, the frame cannot be sent. The request for a ticket is then tried again after
        RENEW_RETRY_SECONDS, and the ping after the ping interval.
        """
        now = _now()
        if now >= self._expires:
            return Close.EXPIRED
        if now >= self._renew:
            sent = self._socket.wire.try_send(text_frame(encode(Renew(math.ceil(self._expires - now)))))
            self._renew = self._expires if sent else min(self._expires, now + RENEW_RETRY_SECONDS)
        if now < self._due:
            return None
        if self._pinged:
            return Close.NO_PONG
        # A ping message, not a WebSocket ping frame: a browser hides those from the page, which could then not
        # notice a dead connection.
        self._pinged = self._socket.ping()
        self._due = now + (self._rules.pong_seconds if self._pinged else self._rules.ping_seconds)
        return None

    async def _handle_message(self, message: WebSocketReceiveEvent) -> Close | None:
        if not self._count_message():
            return Close.TOO_MUCH
        try:
            frame = decode_client_frame(message.get("text") or "")  # a binary message has no text
        except msgspec.DecodeError:
            return Close.BAD_MESSAGE
        match frame:
            case Ack(offset):
                self._hub.acked(self._socket, offset)
            case RenewTicket(ticket):
                if await self._tickets.redeem(ticket) != self._socket.user_id:
                    return Close.BAD_TICKET
                self._start_identity()
            case Pong():
                pass
        return None

    def _count_message(self) -> bool:
        """Notes that the client is alive, and returns whether the message is within the rate limit.

        The limit is a token bucket: MESSAGE_BURST messages, refilled at MESSAGES_PER_SECOND.
        """
        now, ping = _now(), self._rules.ping_seconds
        self._allowance = (
            min(MESSAGE_BURST, self._allowance + (now - self._last_message_at) * MESSAGES_PER_SECOND) - 1
        )
        self._last_message_at, self._due, self._pinged = now, now + ping, False
        if now >= self._reported + ping:
            self._reported = now
            self._hub.heard(self._socket)
        return self._allowance >= 0


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _refuse(send: Send, status: HTTPStatus) -> None:
    REFUSED.labels(status.value).inc()
    log.debug("socket refused", status=status.value)
    await send({"type": "websocket.http.response.start", "status": status, "headers": [(b"retry-after", b"1")]})  # type: ignore[typeddict-item]
    await send({"type": "websocket.http.response.body", "body": status.phrase.encode(), "more_body": False})  # type: ignore[typeddict-item]


def _origin(scope: WebSocketScope) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), None)


def _since(query: bytes) -> Position | None:
    """Returns the position that a reconnecting client has sent, or None if it is missing or malformed."""
    if not query:
        return None
    fields = parse_qs(query.decode("latin-1"))
    epoch, offset = fields.get("e", [""])[0], fields.get("o", [""])[0]
    return Position(epoch, int(offset)) if epoch and re.fullmatch(r"[0-9]{1,16}", offset) else None
