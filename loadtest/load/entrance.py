"""The way into the shop under load."""

import asyncio

from loadtest import client
from loadtest.client import Answer, Pool, address
from loadtest.load.parameters import Failed

# The entrance itself gives up earlier.
ANSWER_SECONDS = 60


class Entrance:
    def __init__(self, url: str, connections: int) -> None:
        self.origin = url
        self.host = url.partition("://")[2]
        self.address = address(url)
        self.pool = Pool(url, connections)

    def get(self, path: str, user_id: str) -> bytes:
        return client.get(path, user_id, self.host)

    def post(self, path: str, user_id: str, body: bytes = b"", key: str | None = None) -> bytes:
        return client.post(path, user_id, body, key, self.host)

    async def ask(self, request: bytes) -> Answer:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self.pool.ask(request)

    async def must(self, *statuses: int, request: bytes) -> Answer:
        answer = await self.ask(request)
        if answer.status not in statuses:
            line, _, _ = request.partition(b"\r\n")
            raise Failed(f"{line.decode()}: {answer.status} {answer.body[:300].decode(errors='replace')}")
        return answer
