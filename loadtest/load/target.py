"""The HTTP access of a generator process to the shop under load."""

import asyncio
import math
import time

from loadtest import client
from loadtest.client import Pool, Response, address
from loadtest.load.parameters import LoadError
from loadtest.load.responses import ResponseChecks

# The gateway gives up earlier (ANSWER_SECONDS in gateway/connection.py).
RESPONSE_SECONDS = 60
PAUSE_SECONDS = 1.0


class LoadTarget:
    """The shop at `url`, with a pool of connections and the checks of all responses."""

    def __init__(self, url: str, connections: int) -> None:
        self.origin = url
        self.host = url.partition("://")[2]
        self.address = address(url)
        self.pool = Pool(url, connections)
        self.responses = ResponseChecks()

    def get(self, path: str, user_id: str) -> bytes:
        return client.get(path, user_id, self.host)

    def post(self, path: str, user_id: str, body: bytes = b"", key: str | None = None) -> bytes:
        return client.post(path, user_id, body, key, self.host)

    async def ask(self, request: bytes, until: float = math.inf) -> Response:
        """Sends the request once. Returns status 0 if there is no response in time."""
        try:
            async with asyncio.timeout(max(0.0, min(RESPONSE_SECONDS, until - time.perf_counter()))):
                return await self.pool.ask(request)
        except TimeoutError:
            return Response(0, b"no answer in time")

    async def ask_expecting(self, *statuses: int, request: bytes) -> Response:
        """Sends the request once. Raises LoadError if the response has another status."""
        response = await self.ask(request)
        if response.status not in statuses:
            raise _failure(request, response)
        return response

    async def ask_until(self, what: str, user_id: str, *statuses: int, request: bytes, until: float) -> Response:
        """Repeats a request that is safe to repeat, until the response has one of the statuses.

        Each failure counts as an error of the load. Raises LoadError when the time `until` is over.
        """
        while (response := await self.ask(request, until)).status not in statuses:
            self.responses.failed(what, user_id, request, *response)
            if time.perf_counter() + PAUSE_SECONDS >= until:
                raise _failure(request, response)
            await asyncio.sleep(PAUSE_SECONDS)
        self.responses.passed()
        return response


def _failure(request: bytes, response: Response) -> LoadError:
    line, _, _ = request.partition(b"\r\n")
    return LoadError(f"{line.decode()}: {response.status} {response.body[:300].decode(errors='replace')}")
