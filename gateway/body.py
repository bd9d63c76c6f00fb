"""The body of a request on its way from the client: whole or as a stream, and within a limit of time."""

import asyncio
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from math import inf
from typing import Any, cast

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
        # By the task that waits for a client; `inf` marks a task that is cancelled because its time was up.
        self._deadlines: dict[asyncio.Task[Any], float] = {}

    async def run(self) -> None:
        while not self._stopping.is_set():
            await pause(self._stopping, LOOK_SECONDS)
            self._expire(time.monotonic())

    def stop(self) -> None:
        self._stopping.set()

    async def read(self, scope: HTTPScope, receive: Receive) -> tuple[bytes | None, AsyncIterator[bytes] | None]:
        """Returns a short body whole, and a long one or one of unknown length as a stream.

        Both ways of reading raise ClientLeft or TooSlow.
        """
        deadline = time.monotonic() + BODY_SECONDS
        first = await self._part(receive, deadline)
        if not first.get("more_body"):
            return first.get("body", b""), None
        rest = self._stream(first.get("body", b""), receive, deadline - time.monotonic())
        length = dict(scope["headers"]).get(b"content-length")
        if length is None or int(length) > WHOLE_BODY:
            return None, rest
        return b"".join([part async for part in rest]), None

    async def _stream(self, chunk: bytes, receive: Receive, seconds: float) -> AsyncIterator[bytes]:
        """Waits `seconds` for the client in all. The time that a replica needs for a part does not count."""
        yield chunk
        more = True
        while more:
            deadline = time.monotonic() + seconds
            message = await self._part(receive, deadline)
            seconds = deadline - time.monotonic()
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def _part(self, receive: Receive, deadline: float) -> HTTPRequestEvent:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._deadlines[task] = deadline
        try:
            message = await receive()
        except asyncio.CancelledError:
            if self._deadlines[task] == inf and not task.uncancel():
                raise TooSlow from None
            raise
        finally:
            del self._deadlines[task]
        if message["type"] == "http.disconnect":
            raise ClientLeft
        return cast("HTTPRequestEvent", message)

    def _expire(self, now: float) -> None:
        for task in [task for task, deadline in self._deadlines.items() if deadline < now]:
            self._deadlines[task] = inf
            task.cancel()
