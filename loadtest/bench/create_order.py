"""Compares accepting an order with its idempotency key with the same handler without a database, in one run.

    python -m loadtest.bench.create_order postgresql://user@127.0.0.1/an_empty_database

The service runs on one core and the load on another. The two variants take turns, with several numbers of requests
in flight. With more requests in flight, more orders share one write, so the database costs less per order.
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

from loadtest.arguments import argument_parser
from loadtest.client import Pool, flood, post
from orders.place_order import NewOrder, Placed
from orders.routes import OrdersContext, router
from shopkit.db.database import Database
from shopkit.runtime.batcher import Batcher
from shopkit.runtime.settings import Settings
from shopkit.web.identity import per_user
from shopkit.web.service import Service

BODY = b'{"amount": 100, "description": "a lamp for the load test"}'
ROUNDS, SECONDS = 7, 2.0
IN_FLIGHT = 64, 128, 256
PORTS = {"without": 19811, "with": 19812}


async def place_nowhere(orders: Sequence[NewOrder]) -> list[Placed]:
    return [Placed(order.id, datetime.now(UTC), replayed=False) for order in orders]


def serve_without_database(port: int) -> None:
    place = Batcher("nothing", place_nowhere)
    call = per_user(lambda user_id: OrdersContext(user_id, cast("Database", None), place))
    Service("orders", Settings(port=port), handlers=[router], dependencies={"call": call}).serve()


def order() -> bytes:
    return post("/api/orders", "load", BODY, uuid4().hex)


async def requests_per_second(port: int, in_flight: int) -> float:
    statuses: list[int] = []
    took = await flood(
        f"http://127.0.0.1:{port}", in_flight, SECONDS, order, lambda status, _: statuses.append(status)
    )
    assert set(statuses) == {201}, set(statuses)
    return len(statuses) / took


async def is_ready(port: int) -> bool:
    pool = Pool(f"http://127.0.0.1:{port}", 1)
    status, _ = await pool.ask(order())
    pool.close()
    return status == 201


async def compare(in_flight: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in PORTS}
    for _ in range(ROUNDS):
        for name, port in PORTS.items():
            rates[name].append(await requests_per_second(port, in_flight))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ratios = sorted(without / with_ for without, with_ in zip(rates["without"], rates["with"], strict=True))
    print(
        f"{in_flight:4} in flight: {medians['without']:6,.0f} orders/s without a database, {medians['with']:6,.0f}"
        f" with it; an order costs {statistics.median(ratios):.2f} times the handler alone"
        f" (rounds from {ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


async def main() -> None:
    for port in PORTS.values():
        while not await is_ready(port):
            await asyncio.sleep(0.2)
    for in_flight in IN_FLIGHT:
        await compare(in_flight)


def on_core(core: int, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    words = ("taskset", "-c", str(core), sys.executable, *words)
    return subprocess.Popen(words, env=os.environ | environment)


if __name__ == "__main__":
    if sys.argv[1:] == ["--without"]:
        serve_without_database(PORTS["without"])
        sys.exit()
    parser = argument_parser("loadtest.bench.create_order", __doc__)
    parser.add_argument("database_url")
    arguments = parser.parse_args()
    quiet = {"LOG_LEVEL": "CRITICAL", "BROKER_URL": "amqp://127.0.0.1:1"}
    servers = [
        on_core(0, "-m", "loadtest.bench.create_order", "--without", **quiet),
        on_core(0, "-m", "orders", PORT=str(PORTS["with"]), DATABASE_URL=arguments.database_url, **quiet),
    ]
    try:
        uvloop.run(main())
    finally:
        for server in servers:
            server.terminate()
            server.wait()
