"""What a request, and a frame, costs the client that makes the load, beside clients one could have taken.

    python -m loadtest.bench.clients

The server answers with bytes made beforehand, on a core of its own. Printed is the client's own time on its core,
which it does not share.
"""

import asyncio
import base64
import gc
import hashlib
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import cast

import aiohttp
import msgspec
import uvloop
import websockets

from loadtest.client import Pool, flood, post
from loadtest.websocket import WebSocket, handshake

PORT, ROUNDS = 19814, 3
IN_FLIGHT, SECONDS = 64, 2.0
SOCKETS, FRAMES = 200, 200
URL = f"http://127.0.0.1:{PORT}"
BODY = b'{"amount":100,"description":"a lamp for the load test"}'

ORDER = msgspec.json.encode(
    {"id": "01a206e8-6bc4-7359-a38a-8da7f8c962e1", "user_id": "load", "amount": 100, "status": "NEW", "version": 1}
)
ANSWER = (
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nX-Request-Id: 1\r\nX-Frame-Options: DENY\r\n"
    b"Content-Length: %d\r\n\r\n" % len(ORDER)
) + ORDER
TEXT = b'{"type":"order","o":1,"order":' + ORDER + b"}" + b" " * 400
FRAME = b"\x81\x7e" + len(TEXT).to_bytes(2) + TEXT
HEADERS = {"X-User-Id": "load", "Content-Type": "application/json"}
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class CannedServer(asyncio.Protocol):
    """Answers every request at once. When all sockets are open, each is sent all frames, in turn."""

    def __init__(self, sockets: list[asyncio.Transport]) -> None:
        self._sockets = sockets

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if key := re.search(rb"Sec-WebSocket-Key: (\S+)", data, re.IGNORECASE):
            accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
            self._transport.write(UPGRADED % accept)
            self._sockets.append(self._transport)
            if len(self._sockets) == SOCKETS:
                self._sending = asyncio.create_task(self._send())
        elif data.endswith(BODY):  # the head may come by itself
            self._transport.write(ANSWER)

    async def _send(self) -> None:
        for _ in range(FRAMES):
            for socket in self._sockets:
                socket.write(FRAME)
            await asyncio.sleep(0.005)
        self._sockets.clear()


async def serve() -> None:
    sockets: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: CannedServer(sockets), "127.0.0.1", PORT)
    await server.serve_forever()


async def ours() -> int:
    answers: list[int] = []
    request = post("/api/orders", "load", BODY)
    await flood(URL, IN_FLIGHT, SECONDS, lambda: request, lambda status, _: answers.append(status))
    assert set(answers) == {201}
    return len(answers)


async def aiohttps() -> int:
    end, count = time.perf_counter() + SECONDS, 0

    async def one_after_another() -> None:
        nonlocal count
        while time.perf_counter() < end:
            async with session.post(f"{URL}/api/orders", data=BODY, headers=HEADERS) as answer:
                await answer.read()
                assert answer.status == 201
            count += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
    return count


class Counting(WebSocket):
    """`done` when all frames are here."""

    def __init__(self) -> None:
        super().__init__(handshake("/ws", f"127.0.0.1:{PORT}", URL))
        self.done = asyncio.get_running_loop().create_future()
        self._count = 0

    def told(self, text: bytes, at: float) -> None:  # noqa: ARG002
        self._count += 1
        if self._count == FRAMES:
            self.done.set_result(None)

    def lost(self, why: str) -> None:
        self.done.set_exception(ConnectionError(why))


async def our_sockets() -> int:
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(Counting, "127.0.0.1", PORT))[1] for _ in range(SOCKETS)]
    await asyncio.gather(*(one.done for one in opened))
    for one in opened:
        one.close()
    return SOCKETS * FRAMES


async def websockets_sockets() -> int:
    async def listen() -> None:
        async with websockets.connect(
            f"ws://127.0.0.1:{PORT}/ws", compression=None, close_timeout=0.1
        ) as connection:
            for _ in range(FRAMES):
                await connection.recv()
            connection.transport.abort()

    await asyncio.gather(*(listen() for _ in range(SOCKETS)))
    return SOCKETS * FRAMES


async def aiohttp_sockets() -> int:
    async def listen() -> None:
        async with session.ws_connect(f"{URL}/ws") as connection:
            for _ in range(FRAMES):
                await connection.receive()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(listen() for _ in range(SOCKETS)))
    return SOCKETS * FRAMES


WAYS: dict[str, dict[str, Callable[[], Awaitable[int]]]] = {
    "request": {"loadtest.client": ours, "aiohttp": aiohttps},
    "frame": {"loadtest.websocket": our_sockets, "websockets": websockets_sockets, "aiohttp": aiohttp_sockets},
}


async def cost(way: Callable[[], Awaitable[int]]) -> float:
    """Microseconds of this process."""
    before = time.process_time()
    count = await way()
    return (time.process_time() - before) / count * 1e6


async def until_it_answers() -> None:
    pool = Pool(URL, 1)
    while (await pool.ask(post("/", "load", BODY))).status != 201:
        await asyncio.sleep(0.2)
    pool.close()


async def compare() -> None:
    await until_it_answers()
    for what, ways in WAYS.items():
        for name, way in ways.items():
            costs = [await cost(way) for _ in range(ROUNDS)]
            print(f"{name:20} {statistics.median(costs):6.1f} us a {what}", flush=True)


def main() -> None:
    server = subprocess.Popen(["taskset", "-c", "0", sys.executable, "-m", "loadtest.bench.clients", "serve"])
    os.sched_setaffinity(0, {1})
    gc.disable()
    try:
        uvloop.run(compare())
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    uvloop.run(serve()) if sys.argv[1:] == ["serve"] else main()
