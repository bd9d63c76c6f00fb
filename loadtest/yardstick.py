"""How fast this machine is: requests a second that a bare Litestar handler answers on one core.

    python -m loadtest.yardstick

Figures of two machines, or of two days, can only be compared beside it.
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

from loadtest.client import flood
from loadtest.client import post as posting

PORT, IN_FLIGHT, SECONDS, ROUNDS = 19813, 64, 2.0, 3
START_SECONDS = 60
REQUEST = posting("/", "load", b'{"amount": 100, "description": "a lamp for the load test"}')


class BareOrder(msgspec.Struct):
    amount: int
    description: str


@post("/")
async def echo(data: BareOrder) -> BareOrder:
    return data


def serve() -> None:
    app = Litestar([echo], logging_config=None, openapi_config=None)
    uvicorn.run(app, port=PORT, loop="uvloop", http="httptools", access_log=False, log_config=None)


async def requests_a_second() -> float:
    answers: list[int] = []
    url = f"http://127.0.0.1:{PORT}"
    took = await flood(url, IN_FLIGHT, SECONDS, lambda: REQUEST, lambda status, _: answers.append(status))
    assert set(answers) == {201}, set(answers)
    return len(answers) / took


def wait_until_listening(server: subprocess.Popen[bytes]) -> None:
    """Raises SystemExit if the server ends, or does not listen within START_SECONDS."""
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
        rates = [uvloop.run(requests_a_second()) for _ in range(ROUNDS)]
    finally:
        server.terminate()
        server.wait()
    print(f"{statistics.median(rates):,.0f} bare requests/s on one core")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
