"""Compares what a request costs in several versions of the gateway: processor time and requests per second.

    python -m loadtest.bench.gateway . ../before

Each argument is a checkout. The gateways share the first core and take turns in short rounds. The second core runs
the load and a service that does nothing. Trust the ratios more than the figures.
"""

import asyncio
import os
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from loadtest.arguments import argument_parser
from loadtest.client import Pool, flood, post

PORT, IN_FLIGHT, SECONDS, ROUNDS = 19820, 32, 1.0, 15
ORDER = b'{"amount": 100, "description": "a lamp for the load test"}'
REQUEST = post("/api/orders", "load", ORDER, "a-key-of-this-order")
ANSWER = ORDER * 5  # as long as a real one
TICK = os.sysconf("SC_CLK_TCK")


async def service(
    _scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER, "more_body": False})


class Gateway:
    def __init__(self, checkout: str, port: int) -> None:
        self.name = Path(checkout).resolve().name
        self.url = f"http://127.0.0.1:{port}"
        urls = {f"{name}_URLS": f"http://127.0.0.1:{PORT}" for name in ("ORDERS", "PAYMENTS", "NOTIFIER", "WEB")}
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", sys.executable, "-m", "gateway"],
            cwd=checkout,
            env=os.environ
            | urls
            | {"HOST": "127.0.0.1", "PORT": str(port), "REPLICA": "1", "LOG_LEVEL": "warning"},
        )
        self.costs: list[float] = []
        self.rates: list[float] = []

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    async def wait_until_ready(self) -> None:
        async with asyncio.timeout(30):
            while True:
                pool = Pool(self.url, 1)
                status, _ = await pool.ask(REQUEST)
                pool.close()
                if status == 201:
                    return
                await asyncio.sleep(0.1)

    async def round(self) -> None:
        statuses: list[int] = []
        before = self.cpu()
        took = await flood(self.url, IN_FLIGHT, SECONDS, lambda: REQUEST, lambda status, _: statuses.append(status))
        assert set(statuses) == {201}, set(statuses)
        self.costs.append((self.cpu() - before) / len(statuses) * 1e6)
        self.rates.append(len(statuses) / took)


async def measure(gateways: list[Gateway]) -> None:
    for gateway in gateways:
        await gateway.wait_until_ready()
        await gateway.round()  # a round to warm up, which does not count
        gateway.costs.clear()
        gateway.rates.clear()
    for _ in range(ROUNDS):
        for gateway in gateways:
            await gateway.round()
    base = statistics.median(gateways[-1].costs)
    for gateway in gateways:
        cost, rate = statistics.median(gateway.costs), statistics.median(gateway.rates)
        print(
            f"{gateway.name:<12} {cost:6.0f} µs per request, {cost / base:.2f} of the last; {rate:7,.0f} requests/s"
        )


def main(checkouts: list[str]) -> None:
    os.sched_setaffinity(0, {1})
    processes = [subprocess.Popen([sys.executable, "-m", "loadtest.bench.gateway", "serve"])]
    try:
        gateways = [Gateway(checkout, PORT + 1 + index) for index, checkout in enumerate(checkouts)]
        processes += [gateway.process for gateway in gateways]
        uvloop.run(measure(gateways))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def serve() -> None:
    uvicorn.run(service, port=PORT, loop="uvloop", http="httptools", access_log=False, log_config=None)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        parser = argument_parser("loadtest.bench.gateway", __doc__)
        parser.add_argument("checkouts", nargs="*", default=["."])
        main(parser.parse_args().checkouts)
