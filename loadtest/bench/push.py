"""Compares one notifier replica on one core with other push servers, in the same run.

    python -m loadtest.bench.push amqp://user:password@127.0.0.1/

The replica has the first core. The load and a Redis of its own have the second. The benchmark measures

- tickets and connections per second,
- memory of an idle socket,
- deliveries per second when a burst is sent to 3,000 users with one socket each,
- the time from before Redis to the client at 5,000 messages per second.

Every message is counted, and a lost message fails the run. For all servers, a burst is published directly into
Redis' pub/sub. At the steady rate, the notifier's messages pass `fan_out.lua`. The other servers have no such step.
"""

import asyncio
import gc
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast
from uuid import uuid4

import hiredis
import uvloop
from uuid_utils.compat import uuid7

from gozon import hops
from loadtest.arguments import argument_parser
from loadtest.bench.push_client import FAILURES, BenchSocket, Redis, open_socket, redis_at
from loadtest.bench.push_rivals.wire import CHANNELS, SOCKETIO, Rival
from loadtest.client import Pool, post
from notifier.fan_out import EncodedEvent
from notifier.messages import FRAME_START, DecidedOrder, OrderStatusEvent, frame_rest
from notifier.scripts import FAN_OUT
from shopkit.messaging import journey

REPLICA_CORE, LOAD_CORE = 0, 1
REDIS_PORT, REPLICA_PORT = 19821, 19822
REDIS_URL = f"redis://127.0.0.1:{REDIS_PORT}/0"
IDLE_SOCKETS = 5_000
BURST_USERS, BURST_EACH = 3_000, 20
STEADY_RATE, STEADY_SECONDS = 5_000, 6
CONCURRENCY = 64
ROUNDS = 3

T = TypeVar("T")
HOPS = (
    hops.ACCEPTED,
    hops.RELAYED,
    hops.RECEIVED,
    hops.SETTLED,
    hops.RESULT_RELAYED,
    hops.UPDATED,
)
OFFSETS = itertools.count(1795492962000)


class PushFigures(NamedTuple):
    tickets: float | None
    connections: float
    kib: float
    deliveries: float
    microseconds: float
    p50: float
    p99: float


class PushServer(Protocol):
    """A push server under test.

    `publish` and `append_and_publish` return Redis commands that send an event to its user: the first directly over
    pub/sub, the second with all the work that the server does for an event.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]

    async def ticket(self, pool: Pool, user_id: str) -> str: ...

    async def socket(self, user_id: str, ticket: str) -> BenchSocket: ...

    def publish(self, event: OrderStatusEvent) -> bytes: ...

    def append_and_publish(self, event: OrderStatusEvent) -> bytes: ...


class Gozon:
    name = "Gozon notifier"
    command: Sequence[str] = (sys.executable, "-m", "notifier")

    def __init__(self, broker_url: str) -> None:
        own = {"PORT": str(REPLICA_PORT), "REPLICA": "notifier-bench", "LOG_LEVEL": "WARNING"}
        servers = {"BROKER_URL": broker_url, "REDIS_URL": REDIS_URL}
        self.environment: Mapping[str, str] = (
            own | servers | {"ALLOWED_ORIGINS": f"http://127.0.0.1:{REPLICA_PORT}"}
        )

    async def ticket(self, pool: Pool, user_id: str) -> str:
        status, body = await pool.ask(post("/api/notifications/tickets", user_id, b""))
        assert status == 201, body
        return json.loads(body)["ticket"]

    async def socket(self, user_id: str, ticket: str) -> BenchSocket:  # noqa: ARG002 (the ticket names the user)
        protocols = f"gozon.v1, ticket.{ticket}"
        return await open_socket(REPLICA_PORT, "/ws", protocols, pong, b"", b'{"type":"welcome"')

    def publish(self, event: OrderStatusEvent) -> bytes:
        return packed(*EncodedEvent(event).publish_command(b"0 %d" % next(OFFSETS)))

    def append_and_publish(self, event: OrderStatusEvent) -> bytes:
        return packed(*EncodedEvent(event).append_command(publish=True))


class RivalServer:
    """A server of `push_rivals`. It accepts every client and keeps no messages."""

    def __init__(self, rival: Rival, command: Sequence[str]) -> None:
        self.name = rival.name
        self.command = command
        self.environment: Mapping[str, str] = {}
        self._rival = rival

    async def ticket(self, pool: Pool, user_id: str) -> str:  # noqa: ARG002 (rivals have no tickets)
        return ""

    async def socket(self, user_id: str, ticket: str) -> BenchSocket:  # noqa: ARG002
        hello = self._rival.hello[0] if self._rival.hello else b""
        path, welcomed = self._rival.path(user_id), self._rival.welcomed
        return await open_socket(REPLICA_PORT, path, "", self._reply_to, hello, welcomed)

    def publish(self, event: OrderStatusEvent) -> bytes:
        return packed("PUBLISH", *self._rival.publication(event.data.user_id, frame(event)))

    append_and_publish = publish

    def _reply_to(self, text: bytes) -> bytes | None:
        # The handshakes of Engine.IO and Socket.IO, which need no reply.
        if text.startswith((b'0{"sid"', b'40{"sid"')):
            return b""
        return self._rival.pong(text)


def servers(broker_url: str) -> list[PushServer]:
    where = ("--port", str(REPLICA_PORT), "--redis", REDIS_URL)
    found: list[PushServer] = [Gozon(broker_url)]
    found.append(RivalServer(CHANNELS, (sys.executable, "-m", "loadtest.bench.push_rivals.channels", *where)))
    if shutil.which("npm"):
        folder = Path(__file__).parent / "push_rivals" / "socketio"
        subprocess.run(["npm", "--prefix", folder, "ci", "--silent", "--no-audit", "--no-fund"], check=True)
        found.append(RivalServer(SOCKETIO, ("node", str(folder / "server.mjs"), str(REPLICA_PORT), REDIS_URL)))
    return found


def pong(text: bytes) -> bytes | None:
    return b'{"type":"pong"}' if text == b'{"type":"ping"}' else None


def packed(*words: object) -> bytes:
    return cast("Any", hiredis).pack_command(words)


def event(user_id: str) -> OrderStatusEvent:
    order_id = uuid7()
    return OrderStatusEvent(
        specversion="1.0",
        id=uuid7(),
        source="orders",
        type="order.finished",
        subject=str(order_id),
        time=datetime.now(UTC),
        datacontenttype="application/json",
        data=DecidedOrder(order_id, user_id, 129_900, "a warm lamp", "FINISHED", 2),
        journey=tuple(journey.now(hop, "orders-1") for hop in HOPS),
    )


def frame(event: OrderStatusEvent) -> bytes:
    return FRAME_START + b"1795492962000," + frame_rest(event)


class PushProcess:
    """The process of the server under test."""

    def __init__(self, pid: int) -> None:
        self._files = Path(f"/proc/{pid}")

    def kib(self) -> int:
        lines = (self._files / "smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))

    def cpu_seconds(self) -> float:
        fields = (self._files / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def running(
    command: Sequence[str], environment: Mapping[str, str], core: int, port: int
) -> AsyncGenerator[int]:
    """Yields the process id when the command listens on `port`, and terminates it afterwards."""
    process = await asyncio.create_subprocess_exec(
        *("taskset", "-c", str(core), *command), env={"PATH": os.environ["PATH"], **environment}
    )
    try:
        async with asyncio.timeout(30):
            while not await listens(port):
                await asyncio.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def in_parallel(work: Sequence[Callable[[Pool], Awaitable[T]]]) -> tuple[list[T], float]:
    """Returns the results in the order of `work`, and how many were done per second."""
    remaining, results = iter(enumerate(work)), dict[int, T]()

    async def work_through() -> None:
        for n, one in remaining:
            results[n] = await one(pool)

    pool = Pool(f"http://127.0.0.1:{REPLICA_PORT}", CONCURRENCY)
    started = time.perf_counter()
    await asyncio.gather(*(work_through() for _ in range(CONCURRENCY)))
    rate = len(work) / (time.perf_counter() - started)
    pool.close()
    return [results[n] for n in range(len(work))], rate


async def open_sockets(server: PushServer, users: Sequence[str]) -> tuple[dict[str, BenchSocket], float, float]:
    """Opens one socket per user. Returns the sockets by user, tickets per second and connections per second."""
    tickets, ticket_rate = await in_parallel([lambda pool, u=user: server.ticket(pool, u) for user in users])
    pairs = zip(users, tickets, strict=True)
    opened, rate = await in_parallel([lambda _, u=user, t=ticket: server.socket(u, t) for user, ticket in pairs])
    return dict(zip(users, opened, strict=True)), ticket_rate, rate


def reset(sockets: Mapping[str, BenchSocket]) -> None:
    for socket in sockets.values():
        socket.delivered = 0
        socket.latencies.clear()


async def wait_until_delivered(sockets: Mapping[str, BenchSocket], count: int) -> None:
    async with asyncio.timeout(60):
        while (delivered := sum(socket.delivered for socket in sockets.values())) < count and not FAILURES:
            await asyncio.sleep(0.002)
    assert delivered == count, f"{delivered} of {count} delivered"
    assert not FAILURES, FAILURES[:3]


async def burst(
    server: PushServer, redis: Redis, process: PushProcess, users: Mapping[str, BenchSocket]
) -> tuple[float, float]:
    """Returns deliveries per second, and microseconds of the replica's core per delivery."""
    reset(users)
    commands = [server.publish(event(user_id)) for _ in range(BURST_EACH) for user_id in users]
    cpu, started = process.cpu_seconds(), time.perf_counter()
    for start in range(0, len(commands), 500):
        redis.send(commands[start : start + 500])
        await asyncio.sleep(0)
    await wait_until_delivered(users, len(commands))
    took = time.perf_counter() - started
    return len(commands) / took, (process.cpu_seconds() - cpu) / len(commands) * 1e6


async def steady(server: PushServer, redis: Redis, users: Mapping[str, BenchSocket]) -> tuple[float, float]:
    """Returns the milliseconds from before Redis to the client, p50 and p99, at a fixed rate."""
    reset(users)
    names = list(itertools.islice(itertools.cycle(users), STEADY_RATE * STEADY_SECONDS))
    commands = [server.append_and_publish(event(name)) for name in names]
    started, sent = time.perf_counter(), 0
    while sent < len(commands):
        now = time.perf_counter()
        due = min(len(commands), int((now - started) * STEADY_RATE))
        for name in names[sent:due]:
            users[name].sent_at.append(now)
        if due > sent:
            redis.send(commands[sent:due])
        sent = due
        await asyncio.sleep(0.001)
    await wait_until_delivered(users, len(commands))
    latencies = sorted(latency * 1000 for socket in users.values() for latency in socket.latencies)
    return latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]


async def measure(server: PushServer, rounds: int) -> PushFigures:
    async with running(server.command, server.environment, REPLICA_CORE, REPLICA_PORT) as pid:
        process, redis = PushProcess(pid), await redis_at(REDIS_PORT)
        redis.send([packed("SCRIPT", "LOAD", FAN_OUT.body)])
        warm, _, _ = await open_sockets(server, [f"warm-{uuid4().hex[:10]}" for _ in range(200)])
        await asyncio.sleep(1)
        before = process.kib()
        users, tickets, connections = await open_sockets(
            server, [f"bench-{uuid4().hex[:10]}" for _ in range(IDLE_SOCKETS)]
        )
        await asyncio.sleep(3)
        kib = (process.kib() - before) / IDLE_SOCKETS
        some = dict(itertools.islice(users.items(), BURST_USERS))
        bursts = [await burst(server, redis, process, some) for _ in range(rounds)]
        p50, p99 = await steady(server, redis, some)
        for socket in (warm | users).values():
            socket.close()
    rate, cpu = (statistics.median(figures) for figures in zip(*bursts, strict=True))
    return PushFigures(tickets if isinstance(server, Gozon) else None, connections, kib, rate, cpu, p50, p99)


def row(name: str, figures: PushFigures) -> str:
    tickets = f"{figures.tickets:,.0f}" if figures.tickets else "none"
    return (
        f"| {name} | {tickets} | {figures.connections:,.0f} | {figures.kib:.1f} | {figures.deliveries:,.0f} "
        f"| {figures.microseconds:.1f} | {figures.p50:.1f} | {figures.p99:.1f} |"
    )


async def main(broker_url: str, rounds: int, only: str) -> None:
    gc.disable()
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    os.sched_setaffinity(0, {LOAD_CORE})
    redis = [
        shutil.which("redis-server") or "/usr/bin/redis-server",
        "--port",
        str(REDIS_PORT),
        "--bind",
        "127.0.0.1",
    ]
    # A burst is faster than any of the servers. With its default limit, Redis would disconnect a slow subscriber.
    unlimited = ["--client-output-buffer-limit", "pubsub 0 0 0"]
    quiet = ["--save", "", "--appendonly", "no", "--logfile", os.devnull, *unlimited]
    print(f"frames of {len(frame(event('bench-0123456789')))} bytes, {IDLE_SOCKETS:,} sockets")
    columns = "tickets/s | connections/s | KiB per socket | deliveries/s | µs per delivery | p50 ms | p99 ms"
    print(f"| server | {columns} |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for server in servers(broker_url):
        if only not in server.name:
            continue
        async with running([*redis, *quiet], {}, LOAD_CORE, REDIS_PORT):
            print(row(server.name, await measure(server, rounds)), flush=True)


if __name__ == "__main__":
    parser = argument_parser("loadtest.bench.push", __doc__)
    parser.add_argument("broker_url")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="number of bursts (default: %(default)s)")
    parser.add_argument("--only", default="", help="part of the name of the servers to measure")
    arguments = parser.parse_args()
    uvloop.run(main(arguments.broker_url, arguments.rounds, arguments.only))
