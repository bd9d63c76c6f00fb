"""What lies in the databases and queues of a shop, asked past all links."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from loadtest.faults.programs import ended

ROOT = Path(__file__).parents[2]
DATABASES = ("orders", "payments")
WAITING = (
    ("orders", "outbox"),
    ("payments", "outbox"),
    ("payments", "inbox WHERE processed_at IS NULL"),
    ("payments", "dead_letters WHERE resolved_at IS NULL"),
)
# A server that is just starting, or has just been ended.
AWAY = (OSError, TimeoutError, aiohttp.ClientError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError)
TRIES, PAUSE = 60, 0.5
CONNECTED_IN, ANSWERED_IN = 5, 30

T = TypeVar("T")


class NotThere(LookupError):
    """RabbitMQ knows nothing of that name."""


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    for _ in range(TRIES):
        try:
            return await ask()
        except AWAY:
            await asyncio.sleep(PAUSE)
    return await ask()


class Contents:
    """`at` is the shop.json that `make up` leaves, or as much of it."""

    def __init__(self, at: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self._databases: dict[str, str] = at["databases"]
        self._management = urlsplit(str(at["broker_management"]))
        self._session = session

    @property
    def broker_user(self) -> str:
        """The user by which the services log in."""
        return self._management.username or ""

    async def sql(self, database: str, query: str, *values: Any) -> list[Any]:
        url = self._databases[database]

        async def ask() -> list[Any]:
            connection = cast("Any", await asyncpg.connect(url, timeout=CONNECTED_IN, command_timeout=ANSWERED_IN))
            try:
                return [tuple(row) for row in await connection.fetch(query, *values)]
            finally:
                await connection.close()

        return await patiently(ask)

    @asynccontextmanager
    async def snapshot_held(self, database: str) -> AsyncGenerator[None]:
        """Keeps a read-only transaction open, as a `pg_dump` does. Raises at the end if the server ended it."""
        connection = cast("Any", await asyncpg.connect(self._databases[database], timeout=CONNECTED_IN))
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute("SELECT 1")
                yield
                await connection.execute("SELECT 1")
        finally:
            await connection.close()

    async def broker(self, method: str, path: str, body: Any = None) -> Any:
        """RabbitMQ's management API; None when it answers without contents. Raises what it refuses."""
        user, password = self._management.username or "", self._management.password or ""
        headers = {"Authorization": aiohttp.encode_basic_auth(user, password)}
        limit = aiohttp.ClientTimeout(total=ANSWERED_IN)
        url = f"http://{self._management.hostname}:{self._management.port}/api/{path}"

        async def ask() -> Any:
            async with self._session.request(method, url, headers=headers, json=body, timeout=limit) as answer:
                if answer.status == HTTPStatus.NOT_FOUND:
                    raise NotThere(path)
                answer.raise_for_status()
                return await answer.json() if answer.status == 200 else None

        return await patiently(ask)

    async def undecided(self) -> int:
        [(count,)] = await self.sql("orders", "SELECT count(*) FROM orders WHERE status = 'NEW'")
        return count

    async def statuses(self, order_ids: list[str]) -> dict[str, str]:
        """Of those that are there."""
        query = "SELECT id::text, status FROM orders WHERE id = ANY ($1::text[]::uuid[])"
        return dict(await self.sql("orders", query, order_ids))

    async def waiting(self) -> dict[str, int]:
        """Whatever lies in an outbox, an inbox or a queue, dead letters included, by where; -1 is not known yet."""
        found = {queue["name"]: queue.get("messages", -1) for queue in await self._queues()}
        for database, rows in WAITING:
            [(found[f"{database}: {rows}"],)] = await self.sql(database, f"SELECT count(*) FROM {rows}")
        return {where: count for where, count in found.items() if count}

    async def forget(self) -> None:
        """Empty databases and no queues; no replica may run."""
        for name in DATABASES:
            await self.sql("admin", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await self.sql("admin", f"CREATE DATABASE {name} OWNER {name}")
        for queue in await self._queues():
            await self.broker("DELETE", f"queues/%2F/{queue['name']}")

    async def audit(self) -> tuple[int, str]:
        """Exit status and words of the auditor, a process of its own."""
        urls = {f"{name.upper()}_DATABASE_URL": self._databases[name] for name in DATABASES}
        command = sys.executable, "-m", "auditor", "--grace", "5", "--rows", "3"
        done = await ended(*command, cwd=ROOT, env=os.environ | urls, stdout=PIPE)
        return done.status, done.said

    async def _queues(self) -> list[dict[str, Any]]:
        return await self.broker("GET", "queues")
