"""The body of a request on its way from the client: whole or as a stream, and within a limit of time."""

import asyncio
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import cast

from litestar.types import HTTPRequestEvent, HTTPScope, Receive

from shopkit.problems import ClosingProblem
from shopkit.retry import pause

# Longer bodies, and bodies without a length, are streamed.
WHOLE_BODY = 64 * 1024
# How long we wait for the client in all, for one body. nginx reads slow bodies itself and sends them whole.
BODY_SECONDS = 10
LOOK_SECONDS = 0.5


class ClientLeft(Exception):
    """The client broke off its own request."""


class TooSlow(ClosingProblem):
    """408: the body took longer than BODY_SECONDS to arrive."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.REQUEST_TIMEOUT, "request-timeout", "The request took too long to arrive."
        )  # in the words of nginx.conf


class Bodies:
    """Reads bodies, and ends the wait for slow ones.

    A look twice a second costs less than a timer for each request.
    """

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._awaited: set[Body] = set()

    async def run(self) -> None:
        while not self._stopping.is_set():
            await pause(self._stopping, LOOK_SECONDS)
            now = time.monotonic()
            for body in [body for body in self._awaited if body.deadline < now]:
                body.expire()

    def stop(self) -> None:
        self._stopping.set()

    async def read(self, scope: HTTPScope, receive: Receive) -> tuple[bytes | None, AsyncIterator[bytes] | None]:
        """Returns a short body whole, and a long one or one of unknown length as a stream.

        Both ways of reading raise ClientLeft or TooSlow.
        """
        body = Body(receive, self._awaited)
        first = await body.part()
        if not first.get("more_body"):
            return first.get("body", b""), None
        rest = body.stream(first.get("body", b""))
        length = dict(scope["headers"]).get(b"content-length")
        if length is None or int(length) > WHOLE_BODY:
            return None, rest
        return b"".join([part async for part in rest]), None


class Body:
    """One body. While it waits for the client it is in `awaited`, and `expire` ends the wait."""

    def __init__(self, receive: Receive, awaited: set["Body"]) -> None:
        self.deadline = 0.0
        self._receive = receive
        self._awaited = awaited
        self._left = float(BODY_SECONDS)
        self._waiter: asyncio.Task[object] | None = None
        self._expired = False

    async def part(self) -> HTTPRequestEvent:
        """The next part. Raises ClientLeft or TooSlow."""
        self.deadline = time.monotonic() + self._left
        self._waiter = asyncio.current_task()
        self._awaited.add(self)
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if self._expired and self._waiter is not None and not self._waiter.uncancel():
                raise TooSlow from None
            raise
        finally:
            self._awaited.discard(self)
        self._left = self.deadline - time.monotonic()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        return cast("HTTPRequestEvent", message)

    async def stream(self, chunk: bytes) -> AsyncIterator[bytes]:
        """The body after its first `chunk`."""
        yield chunk
        more = True
        while more:
            message = await self.part()
            more = message.get("more_body", False)
            yield message.get("body", b"")

    def expire(self) -> None:
        self._expired = True
        if self._waiter is not None:
            self._waiter.cancel()
