"""One-time tickets. A client gets one by a REST call with its identity, and opens or renews a socket with it."""

import secrets
from collections.abc import Sequence
from typing import Annotated, cast

import msgspec
from litestar import post
from litestar.di import NamedDependency
from redis.asyncio import Redis

from notifier import scripts
from shopkit.runtime.batcher import Batcher
from shopkit.web.identity import user_router
from shopkit.web.responses import DocumentedResponse, error_responses

LIFETIME_SECONDS = 30


class Ticket(msgspec.Struct, frozen=True):
    """Open the WebSocket with the subprotocols `gozon.v1` and `ticket.<ticket>` within `expires_in` seconds."""

    ticket: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{32}$")]
    expires_in: Annotated[int, msgspec.Meta(ge=1, description="In seconds.")]


ISSUED = DocumentedResponse("The ticket.", {"ticket": Ticket("yq9BP0aX3wIUhHlfYkKUtVlV3o2vB1cT", LIFETIME_SECONDS)})


class Tickets:
    """Issues and redeems tickets in Redis. Concurrent calls share a round trip."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._issue: Batcher[tuple[str, str], bool] = Batcher("tickets", self._store)
        self._redeem: Batcher[str, bytes | None] = Batcher("redeemed tickets", self._remove)

    async def issue(self, user_id: str) -> Ticket:
        ticket = secrets.token_urlsafe(24)
        await self._issue.submit((ticket, user_id))
        return Ticket(ticket, LIFETIME_SECONDS)

    async def redeem(self, ticket: str) -> str | None:
        """Returns the ticket's user and deletes the ticket. Returns None if it is unknown, used or expired.

        Raises RedisError or TimeoutError if Redis is unavailable.
        """
        user_id = await self._redeem.submit(ticket)
        return None if user_id is None else user_id.decode()

    async def _store(self, issued: Sequence[tuple[str, str]]) -> list[bool]:
        commands = [("SET", _key(ticket), user_id, "EX", LIFETIME_SECONDS) for ticket, user_id in issued]
        return await scripts.run(self._redis, commands)

    async def _remove(self, tickets: Sequence[str]) -> list[bytes | None]:
        return cast("list[bytes | None]", await scripts.run(self._redis, [("GETDEL", _key(t)) for t in tickets]))


class TicketsContext(msgspec.Struct, frozen=True):
    """The caller's user id and the tickets, for the handler of a request."""

    user_id: str
    tickets: Tickets


@post("/tickets", summary="Get a ticket for the WebSocket", responses={201: ISSUED} | error_responses())
async def issue_ticket(call: NamedDependency[TicketsContext]) -> Ticket:
    """A ticket opens one WebSocket, or renews the identity of an open one."""
    return await call.tickets.issue(call.user_id)


def _key(ticket: str) -> str:
    return f"tk:{ticket}"


router = user_router("/api/notifications", [issue_ticket], "Notifications")
