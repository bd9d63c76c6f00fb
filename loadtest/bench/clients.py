"""Measures what a request and a frame cost the load generator's clients, and compares them with libraries.

    python -m loadtest.bench.clients

The server sends prepared bytes and runs on the first core. The figures are the processor time of the client, which
has the second core for itself.
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

from loadtest.arguments import argument_parser
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
    """Answers every request immediately. When all sockets are open, it sends FRAMES frames to each of them."""

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
        elif data.endswith(BODY):  # otherwise only the head of the request has arrived
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


async def our_requests() -> int:
    statuses: list[int] = []
    request = post("/api/orders", "load", BODY)
    await flood(URL, IN_FLIGHT, SECONDS, lambda: request, lambda status, _: statuses.append(status))
    assert set(statuses) == {201}
    return len(statuses)


async def aiohttp_requests() -> int:
    end, count = time.perf_counter() + SECONDS, 0

    async def send_one_after_another() -> None:
        nonlocal count
        while time.perf_counter() < end:
            async with session.post(f"{URL}/api/orders", data=BODY, headers=HEADERS) as response:
                await response.read()
                assert response.status == 201
            count += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(send_one_after_another() for _ in range(IN_FLIGHT)))
    return count


class CountingSocket(WebSocket):
    """A socket whose future `done` completes after FRAMES frames."""

    def __init__(self) -> None:
        super().__init__(handshake("/ws", f"127.0.0.1:{PORT}", URL))
        self.done = asyncio.get_running_loop().create_future()
        self._count = 0

    def on_text(self, text: bytes, at: float) -> None:  # noqa: ARG002
        self._count += 1
        if self._count == FRAMES:
            self.done.set_result(None)

    def on_lost(self, why: str) -> None:
        self.done.set_exception(ConnectionError(why))


async def our_sockets() -> int:
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(CountingSocket, "127.0.0.1", PORT))[1] for _ in range(SOCKETS)]
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


CLIENTS: dict[str, dict[str, Callable[[], Awaitable[int]]]] = {
    "request": {"loadtest.client": our_requests, "aiohttp": aiohttp_requests},
    "frame": {"loadtest.websocket": our_sockets, "websockets": websockets_sockets, "aiohttp": aiohttp_sockets},
}


async def cost(client: Callable[[], Awaitable[int]]) -> float:
    """Returns the processor time of this process per request or frame, in microseconds.

    `client` does the work and returns the number of requests or frames.
    """
    before = time.process_time()
    count = await client()
    return (time.process_time() - before) / count * 1e6


async def wait_until_server_answers() -> None:
    pool = Pool(URL, 1)
    while (await pool.ask(post("/", "load", BODY))).status != 201:
        await asyncio.sleep(0.2)
    pool.close()


async def compare() -> None:
    await wait_until_server_answers()
    for unit, clients in CLIENTS.items():
        for name, client in clients.items():
            costs = [await cost(client) for _ in range(ROUNDS)]
            print(f"{name:20} {statistics.median(costs):6.1f} µs per {unit}", flush=True)


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
    if sys.argv[1:] == ["serve"]:
        uvloop.run(serve())
    else:
        argument_parser("loadtest.bench.clients", __doc__).parse_args()
        main()
