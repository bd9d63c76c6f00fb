"""The WebSocket `/ws?e=<epoch>&o=<offset>`: who may open it, what its client may say, how it ends.

docs/push.md describes the protocol for those who write a client.
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
from notifier.messages import Ack, Pong, Renew, RenewTicket, decode_said, encode
from notifier.streams import Position
from notifier.tickets import Tickets
from notifier.wire import text_frame, wire_of
from shopkit.web.problems import Problem

SUBPROTOCOL = "gozon.v1"
TICKET_PREFIX = "ticket."
JOIN_SECONDS = 10
RENEW_WITHIN_SECONDS = 60
RENEW_RETRY_SECONDS = 1
# A client acknowledges once a second at most and answers a ping now and then.
MESSAGES_A_SECOND, MESSAGES_AT_ONCE = 5, 20

REFUSED = Counter("gozon_sockets_refused", "Sockets refused before they were opened", ["status"])

log = structlog.get_logger()


class Rules(msgspec.Struct, frozen=True):
    """`identity_seconds`: how long a ticket's identity holds before another has to be shown."""

    allowed_origins: frozenset[str]
    identity_seconds: float
    ping_seconds: float
    pong_seconds: float


class SocketEndpoint:
    """Lets clients in, until it is `closed` because the replica ends."""

    def __init__(self, hub: Hub, tickets: Tickets, rules: Rules) -> None:
        self._hub = hub
        self._tickets = tickets
        self._rules = rules
        self.closed = False

    def handler(self) -> ASGIRouteHandler:
        """Plain ASGI: what Litestar makes for a WebSocket would be kept as long as the socket."""

        @asgi("/ws", copy_scope=False)
        async def order_socket(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "websocket":
                raise Problem(HTTPStatus.UPGRADE_REQUIRED, "websocket-only", "This address speaks WebSocket only.")
            with suppress(ClientDisconnected):
                await self._answer(scope, receive, send)

        return order_socket

    async def _answer(self, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if self.closed:
            # nginx then asks another replica; the ticket is still good there.
            await _refuse(send, HTTPStatus.SERVICE_UNAVAILABLE)
        elif _origin(scope) not in self._rules.allowed_origins:
            await _refuse(send, HTTPStatus.FORBIDDEN)
        else:
            await self._let_in(scope, receive, send)

    async def _let_in(self, scope: WebSocketScope, receive: Receive, send: Send) -> None:
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
            log.warning("socket turned away", error=repr(error))
            return Close.TRY_AGAIN
        except Exception:
            log.exception("socket failed")
            return Close.INTERNAL_ERROR


class SocketSession:
    """What one client says, and what is expected of it by when. Times are those of the event loop."""

    __slots__ = (
        *("_allowance", "_attended", "_due", "_expires", "_heard", "_hub", "_pinged", "_receive", "_renew"),
        *("_rules", "_socket", "_tickets"),
    )

    def __init__(self, socket: Socket, hub: Hub, tickets: Tickets, rules: Rules, receive: Receive) -> None:
        self._socket = socket
        self._hub = hub
        self._tickets = tickets
        self._rules = rules
        self._receive = receive
        self._heard = self._attended = _now()
        self._due = self._heard + rules.ping_seconds
        self._pinged = False
        self._allowance = float(MESSAGES_AT_ONCE)
        self._identified()

    async def run(self) -> Close | None:
        """Until the client leaves, or there is a reason to close."""
        while True:
            try:
                async with asyncio.timeout_at(min(self._due, self._renew)):
                    message = await self._receive()
            except TimeoutError:
                why = self._overdue()
            else:
                if message["type"] == "websocket.disconnect":
                    return None
                why = await self._take(cast("WebSocketReceiveEvent", message))
            if why is not None:
                return why

    def _identified(self) -> None:
        lasts = self._rules.identity_seconds
        self._expires = _now() + lasts
        self._renew = self._expires - min(RENEW_WITHIN_SECONDS, lasts / 2)

    def _overdue(self) -> Close | None:
        now = _now()
        if now >= self._expires:
            return Close.EXPIRED
        if now >= self._renew:
            asked = self._socket.wire.try_send(text_frame(encode(Renew(math.ceil(self._expires - now)))))
            self._renew = self._expires if asked else min(self._expires, now + RENEW_RETRY_SECONDS)
        if now < self._due:
            return None
        if self._pinged:
            return Close.NO_PONG
        # A browser hides the pings of the protocol from its page, which could not tell that it is deaf.
        self._pinged = self._socket.ping()
        self._due = now + (self._rules.pong_seconds if self._pinged else self._rules.ping_seconds)
        return None

    async def _take(self, message: WebSocketReceiveEvent) -> Close | None:
        if not self._allowed():
            return Close.TOO_MUCH
        try:
            said = decode_said(message.get("text") or "")  # a binary message has no text
        except msgspec.DecodeError:
            return Close.BAD_MESSAGE
        match said:
            case Ack(offset):
                self._hub.acked(self._socket, offset)
            case RenewTicket(ticket):
                if await self._tickets.redeem(ticket) != self._socket.user_id:
                    return Close.BAD_TICKET
                self._identified()
            case Pong():
                pass
        return None

    def _allowed(self) -> bool:
        """Whatever it says, it is alive."""
        now, ping = _now(), self._rules.ping_seconds
        self._allowance = min(MESSAGES_AT_ONCE, self._allowance + (now - self._heard) * MESSAGES_A_SECOND) - 1
        self._heard, self._due, self._pinged = now, now + ping, False
        if now >= self._attended + ping:
            self._attended = now
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
    """Where a client that comes back says it stands; None for one that does not say, or not clearly."""
    if not query:
        return None
    given = parse_qs(query.decode("latin-1"))
    epoch, offset = given.get("e", [""])[0], given.get("o", [""])[0]
    return Position(epoch, int(offset)) if epoch and re.fullmatch(r"[0-9]{1,16}", offset) else None
