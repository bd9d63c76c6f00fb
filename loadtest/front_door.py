"""How many orders a second a running shop accepts and brings to their toasts, through nginx and gateway.

    python -m loadtest.front_door --url http://127.0.0.1:8080 --seconds 10 --in-flight 64

Every order is followed to its toast; it fails when one is missing or comes twice.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections import Counter
from uuid import uuid4

import uvloop
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.typing import Origin, Subprotocol

from loadtest.client import connect, flood, post

ORDER = json.dumps({"amount": 100, "description": "a lamp for the load test"}).encode()


class Run:
    """What was accepted, and what came back over the sockets."""

    def __init__(self) -> None:
        self.sent_at: dict[str, float] = {}
        self.told_at: dict[str, float] = {}
        self.answers: Counter[int] = Counter()
        self.replicas: Counter[str] = Counter()
        self.twice = 0

    def accepted(self, status: int, body: bytes) -> None:
        self.answers[status] += 1
        if status == 201:
            self.sent_at[json.loads(body)["id"]] = time.perf_counter()

    def told(self, order_id: str) -> None:
        if order_id in self.told_at:
            self.twice += 1
        self.told_at[order_id] = time.perf_counter()


async def open_user(url: str, user_id: str, run: Run) -> ClientConnection:
    connection = await connect(url)
    await connection.send(post("/api/payments/account", user_id, b""))
    await connection.send(post("/api/payments/account/top-ups", user_id, b'{"amount":1000000000}'))
    _, body = await connection.send(post("/api/notifications/tickets", user_id, b""))
    connection.close()
    ticket = json.loads(body)["ticket"]
    socket = await open_socket(
        url.replace("http", "ws") + "/ws",
        subprotocols=[Subprotocol("gozon.v1"), Subprotocol(f"ticket.{ticket}")],
        origin=Origin(url),
        compression=None,
    )
    run.replicas[json.loads(await socket.recv())["replica"]] += 1
    return socket


async def listen(socket: ClientConnection, run: Run) -> None:
    async for frame in socket:
        message = json.loads(frame)
        if message["type"] == "order":
            run.told(message["order"]["id"])
        else:
            await socket.send('{"type":"pong"}')


async def main(url: str, users: int, seconds: float, in_flight: int) -> None:
    run = Run()
    names = [f"load-{uuid4().hex[:10]}" for _ in range(users)]
    sockets = [await open_user(url, name, run) for name in names]
    listeners = [asyncio.create_task(listen(socket, run)) for socket in sockets]
    requests = itertools.cycle([post("/api/orders", name, ORDER) for name in names])

    started = time.perf_counter()
    took = await flood(url, in_flight, seconds, lambda: next(requests), run.accepted)
    while len(run.told_at) < len(run.sent_at) and time.perf_counter() - started < seconds + 60:
        await asyncio.sleep(0.05)
    ended = max(run.told_at.values(), default=started) - started
    for task in listeners:
        task.cancel()
    await asyncio.gather(*(socket.close() for socket in sockets))

    # The answer to a POST may come after the toast; such an order waited for nothing.
    waits = sorted(max(0.0, run.told_at[i] - at) * 1000 for i, at in run.sent_at.items() if i in run.told_at)
    percentiles = statistics.quantiles(waits, n=100)
    print(f"answers            {dict(run.answers)}")
    print(f"sockets            {dict(run.replicas)}")
    print(f"accepted           {len(run.sent_at) / took:,.0f} orders/s")
    print(f"to the last toast  {len(run.told_at) / ended:,.0f} orders/s")
    print(f"201 to toast       p50 {percentiles[49]:.0f} ms, p99 {percentiles[98]:.0f} ms, max {waits[-1]:.0f} ms")
    missing = run.sent_at.keys() - run.told_at.keys()
    if missing or run.twice or set(run.answers) != {201}:
        raise SystemExit(f"wrong: {len(missing)} toasts missing, {run.twice} twice, answers {dict(run.answers)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--in-flight", type=int, default=64)
    given = parser.parse_args()
    uvloop.run(main(given.url.rstrip("/"), given.users, given.seconds, given.in_flight))
