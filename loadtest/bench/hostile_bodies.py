"""Compares what a hostile body of 64 KiB costs `POST /api/orders` with a valid body of the same size, in one run.

    python -m loadtest.bench.hostile_bodies

For each shape of body it prints the processor time of a request and its ratio to the valid request. Requests go
through the application without a server and without a database.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from loadtest.arguments import argument_parser
from orders.place_order import NewOrder, Placed
from orders.routes import OrdersContext, router
from shopkit.db.database import Database
from shopkit.runtime.batcher import Batcher
from shopkit.runtime.settings import Settings
from shopkit.web.identity import per_user
from shopkit.web.service import BODY_LIMIT, Service

ROUNDS, REQUESTS = 7, 20
DESCRIPTION = b'"description":"x"'


def filled(start: bytes, part: bytes, end: bytes) -> bytes:
    """Returns a body of BODY_LIMIT bytes, or slightly less, that repeats `part` as often as it fits."""
    return start + part * ((BODY_LIMIT - len(start) - len(end)) // len(part)) + end


def keys(start: bytes, end: bytes) -> bytes:
    """Returns a body with as many different keys as fit into BODY_LIMIT bytes."""
    return start + b",".join(b'"%05x":1' % key for key in range(BODY_LIMIT // 10 - 10)) + end


VALID = filled(b'{"amount":1,' + DESCRIPTION, b" ", b"}")
SHAPES = {
    "exponents in amount": filled(b'{"amount":[', b"1e308,", b"1]," + DESCRIPTION + b"}"),
    "exponents in an unknown field": filled(b'{"x":[', b"1e308,", b"1]}"),
    "negative exponents": filled(b'{"amount":[', b"1e-308,", b"1]," + DESCRIPTION + b"}"),
    "fractions": filled(b'{"amount":[', b"1.5,", b"1]," + DESCRIPTION + b"}"),
    "a long integer": filled(b'{"amount":', b"9", b"," + DESCRIPTION + b"}"),
    "a long fraction": filled(b'{"amount":0.', b"9", b"," + DESCRIPTION + b"}"),
    "a long integer with an exponent": filled(b'{"amount":1', b"0", b"e-60000," + DESCRIPTION + b"}"),
    "a long exponent": filled(b'{"amount":1e', b"0", b"1," + DESCRIPTION + b"}"),
    "integers of 23 digits": filled(b'{"amount":[', b"12345678901234567890123,", b"1]," + DESCRIPTION + b"}"),
    "minus signs": filled(b'{"amount":', b"-", b"1}"),
    "deep arrays, never closed": filled(b'{"amount":', b"[", b""),
    "deep arrays": b'{"amount":' + b"[" * 900 + b"]" * 900 + b"}",
    "deep objects": filled(b'{"amount":', b'{"a":', b"1"),
    "empty arrays": filled(b'{"amount":[', b"[],", b"1]," + DESCRIPTION + b"}"),
    "empty objects": filled(b'{"x":[', b"{},", b"1]}"),
    "many keys": keys(b'{"amount":{', b"}," + DESCRIPTION + b"}"),
    "many unknown fields": keys(b'{"amount":1,' + DESCRIPTION + b",", b"}"),
    "a long key": filled(b'{"', b"x", b'":1}'),
    "a long key of escapes": filled(b'{"', b"\\u0041", b'":1}'),
    "a key like an error message": filled(b'{"', b" - at `$.", b'":1}'),
    "duplicate amounts": filled(b"{", b'"amount":1,', DESCRIPTION + b"}"),
    "duplicate descriptions": filled(b'{"amount":1', b"," + DESCRIPTION, b"}"),
    "duplicate keys of escapes": filled(b"{", b'"\\u0061mount":1,', DESCRIPTION + b"}"),
    "escapes": filled(b'{"amount":1,"description":"', b"\\u0041", b'"}'),
    "surrogates": filled(b'{"amount":1,"description":"', b"\\ud83d\\ude00", b'"}'),
    "line breaks": filled(b'{"amount":1,"description":"', b"\\n", b'"}'),
    "NUL characters": filled(b'{"amount":1,"description":"', b"\\u0000", b'"}'),
    "letters of two bytes": filled(b'{"amount":1.0,"description":"', "ы".encode(), b'"}'),
    "not UTF-8 at the end": filled(b'{"amount":1,"description":"', b"x", b'\xff"}'),
    "whitespace, then garbage": filled(b'{"amount":1,' + DESCRIPTION + b"}", b" ", b"x"),
    "an array": filled(b"[", b"1e308,", b"1]"),
}


async def place(orders: Sequence[NewOrder]) -> list[Placed]:
    return [Placed(order.id, datetime.now(UTC), replayed=False) for order in orders]


def application() -> Any:
    """Returns the ASGI application of orders without its database."""
    batcher = Batcher("orders", place)
    call = per_user(lambda user_id: OrdersContext(user_id, cast("Database", None), batcher))
    return Service("orders", Settings(port=0), handlers=[router], dependencies={"call": call}).app


async def answer(app: Any, body: bytes) -> int:
    """Sends `body` as an order and returns the status."""
    statuses: list[int] = []
    headers = [(b"host", b"shop"), (b"x-user-id", b"ann"), (b"content-type", b"application/json")]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/api/orders",
        "raw_path": b"/api/orders",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return statuses[0]


async def seconds(app: Any, body: bytes) -> float:
    """Returns the processor time of a request with `body`: the mean of the fastest of ROUNDS rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(REQUESTS):
            assert await answer(app, body) in (201, 400)
        best = min(best, (time.process_time() - started) / REQUESTS)
    return best


async def ratios() -> dict[str, tuple[float, float]]:
    """Returns for each shape the seconds of a request, and their ratio to the valid request."""
    app = application()
    valid = await seconds(app, VALID)
    costs = {name: await seconds(app, body) for name, body in SHAPES.items()}
    return {name: (cost, cost / valid) for name, cost in {"valid": valid, **costs}.items()}


def main() -> None:
    for name, (cost, ratio) in asyncio.run(ratios()).items():
        print(f"{name:<34} {cost * 1e6:8.0f} µs per request, {ratio:6.2f} of the valid one")


if __name__ == "__main__":
    argument_parser("loadtest.bench.hostile_bodies", __doc__).parse_args()
    main()
