"""What accepting an order with its idempotency key costs beside the same handler without a database, in one run.

    python -m loadtest.create_order postgresql://user@127.0.0.1/an_empty_database

The service runs on one core and the load on another; both variants take turns, medians are compared.
"""

import asyncio
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import uvloop

from loadtest.client import connect, flood, post
from orders.place_order import NewOrder, Placed
from orders.routes import Call, router
from shopkit.batcher import Batcher
from shopkit.db import Database
from shopkit.identity import on_behalf
from shopkit.service import Service
from shopkit.settings import Settings

BODY = b'{"amount": 100, "description": "a lamp for the load test"}'
ROUNDS, SECONDS, IN_FLIGHT = 3, 5.0, 64
PORTS = {"without": 19811, "with": 19812}


async def nothing(orders: Sequence[NewOrder]) -> list[Placed]:
    return [Placed(order.id, datetime.now(UTC), replayed=False) for order in orders]


def serve_without_database(port: int) -> None:
    place = Batcher("nothing", nothing)
    call = on_behalf(lambda user_id: Call(user_id, cast("Database", None), place))
    Service("orders", Settings(port=port), handlers=[router], dependencies={"call": call}).serve()


def order() -> bytes:
    return post("/api/orders", "load", BODY, uuid4().hex)


async def requests_a_second(port: int) -> float:
    answers: list[int] = []
    took = await flood(
        f"http://127.0.0.1:{port}", IN_FLIGHT, SECONDS, order, lambda status, _: answers.append(status)
    )
    assert set(answers) == {201}, set(answers)
    return len(answers) / took


async def answers(port: int) -> bool:
    try:
        connection = await connect(f"http://127.0.0.1:{port}")
        status, _ = await connection.send(order())
    except OSError:
        return False
    return status == 201


async def main() -> None:
    rates: dict[str, list[float]] = {name: [] for name in PORTS}
    for port in PORTS.values():
        while not await answers(port):
            await asyncio.sleep(0.2)
    for _ in range(ROUNDS):
        for name, port in PORTS.items():
            rates[name].append(await requests_a_second(port))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(f"without a database  {medians['without']:,.0f} orders/s")
    print(f"with its database   {medians['with']:,.0f} orders/s")
    print(f"cost                {medians['without'] / medians['with']:.2f} times the handler alone")


def on_core(core: int, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    words = ("taskset", "-c", str(core), sys.executable, *words)
    return subprocess.Popen(words, env=os.environ | environment)


if __name__ == "__main__":
    if sys.argv[1] == "--without":
        serve_without_database(PORTS["without"])
        sys.exit()
    quiet = {"LOG_LEVEL": "CRITICAL", "BROKER_URL": "amqp://127.0.0.1:1"}
    servers = [
        on_core(0, "-m", "loadtest.create_order", "--without", **quiet),
        on_core(0, "-m", "orders", PORT=str(PORTS["with"]), DATABASE_URL=sys.argv[1], **quiet),
    ]
    try:
        uvloop.run(main())
    finally:
        for server in servers:
            server.terminate()
            server.wait()
