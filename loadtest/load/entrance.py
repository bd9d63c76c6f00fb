"""The way into the shop under load."""

import asyncio
import math
import time

from loadtest import client
from loadtest.client import Pool, Response, address
from loadtest.load.answers import Answers
from loadtest.load.parameters import Failed

# The entrance itself gives up earlier.
ANSWER_SECONDS = 60
PAUSE_SECONDS = 1.0


class Entrance:
    def __init__(self, url: str, connections: int) -> None:
        self.origin = url
        self.host = url.partition("://")[2]
        self.address = address(url)
        self.pool = Pool(url, connections)
        self.answers = Answers()

    def get(self, path: str, user_id: str) -> bytes:
        return client.get(path, user_id, self.host)

    def post(self, path: str, user_id: str, body: bytes = b"", key: str | None = None) -> bytes:
        return client.post(path, user_id, body, key, self.host)

    async def ask(self, request: bytes, until: float = math.inf) -> Response:
        try:
            async with asyncio.timeout(max(0.0, min(ANSWER_SECONDS, until - time.perf_counter()))):
                return await self.pool.ask(request)
        except TimeoutError:
            return Response(0, b"no answer in time")

    async def must(self, *statuses: int, request: bytes) -> Response:
        answer = await self.ask(request)
        if answer.status not in statuses:
            raise _failure(request, answer)
        return answer

    async def insist(self, what: str, user_id: str, *statuses: int, request: bytes, until: float) -> Response:
        """Asks what may be asked twice, again until then. Each failure is an error of the load."""
        while (answer := await self.ask(request, until)).status not in statuses:
            self.answers.failed(what, user_id, request, *answer)
            if time.perf_counter() + PAUSE_SECONDS >= until:
                raise _failure(request, answer)
            await asyncio.sleep(PAUSE_SECONDS)
        self.answers.good()
        return answer


def _failure(request: bytes, answer: Response) -> Failed:
    line, _, _ = request.partition(b"\r\n")
    return Failed(f"{line.decode()}: {answer.status} {answer.body[:300].decode(errors='replace')}")
