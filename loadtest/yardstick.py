"""Measures how fast this machine is: the requests per second that a bare Litestar handler answers on one core.

    python -m loadtest.yardstick

Put its figure beside every measurement. Without it, measurements of two machines or two days cannot be compared.
"""

import os
import socket
import statistics
import subprocess
import sys
import time

import msgspec
import uvicorn
import uvloop
from litestar import Litestar, post

from loadtest.arguments import argument_parser
from loadtest.client import flood
from loadtest.client import post as post_request

PORT, IN_FLIGHT, SECONDS, ROUNDS = 19813, 64, 2.0, 3
START_SECONDS = 60
REQUEST = post_request("/", "load", b'{"amount": 100, "description": "a lamp for the load test"}')


class BareOrder(msgspec.Struct):
    amount: int
    description: str


@post("/")
async def echo(data: BareOrder) -> BareOrder:
    return data


def serve() -> None:
    app = Litestar([echo], logging_config=None, openapi_config=None)
    uvicorn.run(app, port=PORT, loop="uvloop", http="httptools", access_log=False, log_config=None)


async def requests_per_second() -> float:
    statuses: list[int] = []
    url = f"http://127.0.0.1:{PORT}"
    took = await flood(url, IN_FLIGHT, SECONDS, lambda: REQUEST, lambda status, _: statuses.append(status))
    assert set(statuses) == {201}, set(statuses)
    return len(statuses) / took


def wait_until_listening(server: subprocess.Popen[bytes]) -> None:
    """Raises SystemExit if the server exits, or does not listen within START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while not listens():
        if server.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the server does not listen on port {PORT}")
        time.sleep(0.05)


def listens() -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", PORT)) == 0


def main() -> None:
    server = subprocess.Popen(["taskset", "-c", "0", sys.executable, "-m", "loadtest.yardstick", "serve"])
    os.sched_setaffinity(0, {1})
    try:
        wait_until_listening(server)
        rates = [uvloop.run(requests_per_second()) for _ in range(ROUNDS)]
    finally:
        server.terminate()
        server.wait()
    print(f"{statistics.median(rates):,.0f} bare requests/s on one core")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        argument_parser("loadtest.yardstick", __doc__).parse_args()
        main()
