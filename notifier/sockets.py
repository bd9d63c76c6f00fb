"""The WebSocket `/ws?e=<epoch>&o=<offset>`: who may open it, what it hears and says, how it ends."""

import asyncio
import re
from contextlib import suppress
from typing import Any, cast

import msgspec
import structlog
from litestar import WebSocket, websocket
from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifier import tickets
from notifier.closes import Close
from notifier.hub import GONE, Hub, Socket
from notifier.streams import Position

SUBPROTOCOL = "gozon.v1"
TICKET_PREFIX = "ticket."
PING_SECONDS = 25
PONG_SECONDS = 10
CLOSE_SECONDS = 1

log = structlog.get_logger()


class Door(msgspec.Struct, frozen=True):
    """What opening a socket takes."""

    hub: Hub
    redis: Redis
    allowed_origins: frozenset[str]


@websocket("/ws")
async def order_socket(socket: WebSocket[Any, Any, Any], door: Door) -> None:
    """Refused with 403 before it is accepted when the page comes from elsewhere."""
    if socket.headers.get("origin") not in door.allowed_origins:
        await socket.close()
        return
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
    try:
        code = await _serve(socket, door)
    except GONE:
        return
    except (RedisError, TimeoutError) as error:
        log.warning("socket turned away", error=repr(error))
        code = Close.TRY_AGAIN
    if code is not None:
        with suppress(TimeoutError, RuntimeError, *GONE):
            async with asyncio.timeout(CLOSE_SECONDS):  # a socket that takes nothing takes no close frame either
                await socket.close(code, code.reason)


async def _serve(socket: WebSocket[Any, Any, Any], door: Door) -> Close | None:
    offered = (name for name in socket.scope["subprotocols"] if name.startswith(TICKET_PREFIX))
    ticket = next(offered, "").removeprefix(TICKET_PREFIX)
    user_id = await tickets.redeem(door.redis, ticket)
    if user_id is None:
        return Close.BAD_TICKET
    mine = Socket(socket.send)
    try:
        await door.hub.join(user_id, mine, _since(socket.query_params.get("e"), socket.query_params.get("o")))
        return await _listen(socket, mine)
    finally:
        door.hub.leave(user_id, mine)


async def _listen(socket: WebSocket[Any, Any, Any], mine: Socket) -> Close | None:
    """Until the client leaves. A browser does not see protocol pings, so there are pings in frames as well."""
    pinged = False
    while True:
        try:
            async with asyncio.timeout(PONG_SECONDS if pinged else PING_SECONDS):
                message = await socket.receive()
        except asyncio.CancelledError:
            if mine.given_up is None:
                raise
            cast("asyncio.Task[None]", asyncio.current_task()).uncancel()
            return mine.given_up
        except TimeoutError:
            if pinged:
                return Close.NO_PONG
            pinged = mine.ping()
            continue
        if message["type"] == "websocket.disconnect":
            return None
        pinged = False  # whatever it says, it is alive


def _since(epoch: str | None, offset: str | None) -> Position | None:
    """Where a client that comes back says it stands; None for one that does not say, or not clearly."""
    if not epoch or not offset or not re.fullmatch(r"[0-9]{1,16}", offset):
        return None
    return Position(epoch, int(offset))
