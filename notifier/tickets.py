"""Tickets: a REST call with the caller's identity gets one, and a socket is opened with it, once."""

import secrets
from typing import cast

import msgspec
from litestar import Router, post
from redis.asyncio import Redis

from shopkit.problems import documented

LIFETIME_SECONDS = 30


class Ticket(msgspec.Struct, frozen=True):
    """Offer the subprotocols `gozon.v1` and `ticket.<ticket>` within `expires_in` seconds."""

    ticket: str
    expires_in: int


class Call(msgspec.Struct, frozen=True):
    """Who calls, and what answering takes."""

    user_id: str
    redis: Redis


@post("/tickets", summary="Get a ticket for the WebSocket", responses=documented())
async def issue(call: Call) -> Ticket:
    ticket = secrets.token_urlsafe(24)
    await call.redis.set(_key(ticket), call.user_id, ex=LIFETIME_SECONDS)
    return Ticket(ticket, LIFETIME_SECONDS)


async def redeem(redis: Redis, ticket: str) -> str | None:
    """The user it was issued to, the first time and in time."""
    user_id = cast("bytes | None", await redis.getdel(_key(ticket)))
    return None if user_id is None else user_id.decode()


def _key(ticket: str) -> str:
    return f"tk:{ticket}"


router = Router("/api/notifications", route_handlers=[issue], tags=["Notifications"], security=[{"user": []}])
