"""An HTTP client that costs as little as possible beside what it measures: one request at a time a connection."""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; the body must have a length."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 : lower.index(b"\r\n", at)]) if at >= 0 else 0
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


async def connect(url: str) -> Connection:
    at = urlsplit(url)
    return Connection(*await asyncio.open_connection(at.hostname, at.port))


def post(path: str, user_id: str, body: bytes, key: str | None = None) -> bytes:
    idempotency = f"Idempotency-Key: {key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: gozon\r\nX-User-Id: {user_id}\r\n{idempotency}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def flood(
    url: str, in_flight: int, seconds: float, request: Callable[[], bytes], answered: Callable[[int, bytes], None]
) -> float:
    """Keeps `in_flight` requests under way for `seconds`; returns how long it really took."""
    connections = [await connect(url) for _ in range(in_flight)]
    started = time.perf_counter()

    async def one_after_another(connection: Connection) -> None:
        while time.perf_counter() - started < seconds:
            answered(*await connection.send(request()))

    await asyncio.gather(*map(one_after_another, connections))
    took = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return took
