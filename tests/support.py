"""Helpers of several tests: clients of a shop, WebSockets, and replicas that run for one test."""

import asyncio
import json
import os
import re
import socket as sockets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import msgspec
import websockets
from multidict import CIMultiDict
from websockets.asyncio.client import ClientConnection
from websockets.typing import Origin, Subprotocol

from tests.fork_server import FORK_SERVER, Fork

ROOT = Path(__file__).parent.parent
PATIENCE = 30

T = TypeVar("T")

OPENED: list[ClientConnection] = []
"""Every WebSocket that a test has opened; a fixture closes them."""


def new_user() -> str:
    return f"user-{uuid4().hex[:12]}"


async def eventually(look: Callable[[], Awaitable[T]], seconds: float = PATIENCE) -> T:
    """Calls `look` until it returns a true value, and returns that. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds} s for {getattr(look, '__name__', look)}"
        await asyncio.sleep(0.05)


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: Any

    def fields(self) -> set[str]:
        """Checks that this is a problem document. Returns the fields of its `errors`."""
        assert self.headers["Content-Type"] == "application/problem+json"
        assert self.body["status"] == self.status
        return {error["field"] for error in self.body.get("errors", [])}


class Caller:
    """A client of the shop at `url` that acts as the user `user_id`."""

    def __init__(self, session: aiohttp.ClientSession, url: str, user_id: str | None = None) -> None:
        self.session = session
        self.url = url
        self.user_id = user_id or new_user()

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Sends a request. `body` is sent as JSON, or unchanged if it is bytes."""
        defaults = {"X-User-Id": self.user_id, "Content-Type": "application/json"}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = defaults | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, data=data, headers=sent) as response:
            content = await response.read()
            decoded = json.loads(content) if "json" in response.headers.get("Content-Type", "") else content
            return Answer(response.status, response.headers, decoded)

    async def open_account(self, balance: int = 0) -> None:
        assert (await self.call("POST", "/api/payments/account")).status == 201
        if balance:
            await self.top_up(balance)

    async def top_up(self, amount: int) -> None:
        assert (await self.call("POST", "/api/payments/account/top-ups", {"amount": amount})).status == 201

    async def balance(self) -> int:
        return (await self.call("GET", "/api/payments/account")).body["balance"]

    async def order(self, amount: int, description: str = "a lamp") -> str:
        """Places an order and returns its id."""
        answer = await self.call("POST", "/api/orders", {"amount": amount, "description": description})
        assert answer.status == 201, answer
        assert answer.body["status"] == "NEW"
        return answer.body["id"]

    async def decided(self, order_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Waits until the order is no longer NEW, and returns it."""

        async def final_order() -> dict[str, Any] | None:
            answer = await self.call("GET", f"/api/orders/{order_id}")
            return answer.body if answer.status == 200 and answer.body["status"] != "NEW" else None

        order = await eventually(final_order, seconds)
        assert order is not None
        return order

    async def ticket(self) -> str:
        answer = await self.call("POST", "/api/notifications/tickets")
        assert answer.status == 201
        return answer.body["ticket"]

    async def socket(
        self, url: str | None = None, query: str = "", origin: str | None = None, sock: sockets.socket | None = None
    ) -> "Socket":
        """Opens a socket at `url`, or at the shop, and reads its welcome frame."""
        connection = await self.connect(url, query, origin, sock=sock)
        return Socket(connection, json.loads(await connection.recv()))

    async def connect(
        self,
        url: str | None = None,
        query: str = "",
        origin: str | None = None,
        ticket: str | None = None,
        sock: sockets.socket | None = None,
    ) -> ClientConnection:
        target = urlsplit(url or self.url)
        connection = await websockets.connect(
            f"ws://{target.netloc}/ws{query}",
            subprotocols=[Subprotocol("gozon.v1"), Subprotocol(f"ticket.{ticket or await self.ticket()}")],
            origin=Origin(origin or self.url),
            compression=None,
            sock=sock,
        )
        OPENED.append(connection)
        return connection


async def said(host: str, port: int, request: bytes) -> Answer:
    """Sends bytes that no HTTP client would send. Reads the response until the server closes the connection."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return parsed(answer)


def parsed(answer: bytes) -> Answer:
    """Parses a raw HTTP response that is not chunked and has a JSON body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = CIMultiDict[str]()
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Answer(int(status.split(" ")[1]), headers, json.loads(body) if body else None)


class Socket:
    """An open WebSocket. `given` holds the `welcome` and `order` frames that were read after the first welcome."""

    def __init__(self, connection: ClientConnection, welcome: dict[str, Any]) -> None:
        assert welcome["type"] == "welcome"
        self.connection = connection
        self.welcome = welcome
        self.replica: str = welcome["replica"]
        self.given: list[dict[str, Any]] = []

    async def next_order(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Returns the next `order` frame. Responds to pings meanwhile."""
        async with asyncio.timeout(seconds):
            while True:
                frame = json.loads(await self.connection.recv())
                if frame["type"] == "ping":
                    await self.connection.send('{"type":"pong"}')
                    continue
                if frame["type"] in ("welcome", "order"):
                    self.given.append(frame)
                if frame["type"] == "order":
                    return frame

    async def silent_for(self, seconds: float) -> None:
        """Fails if an order frame arrives within `seconds`."""
        try:
            frame = await self.next_order(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected frame: {frame}")

    async def close(self) -> None:
        await self.connection.close()


class Replica:
    """A service process that a test starts, with its own settings."""

    def __init__(self, service: str, settings: Mapping[str, str], log: Path) -> None:
        self.service = service
        self.port = free_port()
        self.name = f"{service}-{self.port}"
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = settings
        self._log = log
        self.process: Fork | asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}} | {
            "PORT": str(self.port),
            "REPLICA": self.name,
            **self._settings,
        }
        if any(name.startswith("PYTHON") for name in self._settings):
            self.process = await self._start_interpreter(environment)
            return
        self.process = await FORK_SERVER.fork(
            self.service, environment=environment, stdout=self._log, stderr=self._log
        )

    async def _start_interpreter(self, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
        """Starts a new interpreter: the variables of Python itself have no effect in a fork."""
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.service, cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    async def readiness(self, session: aiohttp.ClientSession) -> tuple[int, dict[str, Any]]:
        """Returns the status and body of `/health/ready`, or (0, {}) while the replica does not listen."""
        try:
            async with session.get(self.url + "/health/ready") as response:
                return response.status, await response.json()
        except aiohttp.ClientError:
            return 0, {}

    async def ready(self, session: aiohttp.ClientSession) -> None:
        async def replica_is_ready() -> bool:
            assert self.running, self.log()
            return (await self.readiness(session))[0] == 200

        await eventually(replica_is_ready, 60)

    async def has_its_database(self, session: aiohttp.ClientSession) -> None:
        async def database_ok() -> bool:
            return (await self.readiness(session))[1].get("parts", {}).get("database") == "ok"

        await eventually(database_ok, 60)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def kill(self) -> None:
        """Kills the process with SIGKILL, so it finishes nothing."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """Sends SIGTERM, and returns the exit status."""
        assert self.process is not None
        if self.running:
            self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 30)

    def log(self) -> str:
        return self._log.read_text()

    async def metric(self, session: aiohttp.ClientSession, named: str) -> float:
        return await metric(session, self.url, named)


async def metric(session: aiohttp.ClientSession, url: str, named: str) -> float:
    """Returns the value of a replica's first sample that has this name and these labels, or 0.

    `named` is a name with any labels: `gozon_sockets_closed_total{code="4408"}`.
    """
    name, *labels = re.findall(r'\w+="[^"]*"|\w+', named)
    async with session.get(url + "/metrics") as response:
        rows = (await response.text()).splitlines()
    found = [row for row in rows if row.startswith(f"{name}{{") and all(label in row for label in labels)]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


async def audited(*options: str, **variables: str) -> tuple[int, str, str]:
    """Runs `python -m auditor`. Returns its exit status, output and error output."""
    return await FORK_SERVER.run("auditor", *options, environment={"PATH": os.environ["PATH"]} | variables)


def free_port() -> int:
    with sockets.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
