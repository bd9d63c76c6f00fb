"""Direct access to the databases and the broker of a shop, past the links that faults interrupt."""

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

from loadtest.faults.programs import run_program

ROOT = Path(__file__).parents[2]
DATABASES = ("orders", "payments")
WAITING = (
    ("orders", "outbox"),
    ("payments", "outbox"),
    ("payments", "inbox WHERE processed_at IS NULL"),
    ("payments", "dead_letters WHERE resolved_at IS NULL"),
)
# Raised while a server is starting or has just stopped.
UNAVAILABLE_ERRORS = (
    OSError,
    TimeoutError,
    aiohttp.ClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
)
ATTEMPTS, PAUSE_SECONDS = 60, 0.5
CONNECT_TIMEOUT_SECONDS, RESPONSE_TIMEOUT_SECONDS = 5, 30

T = TypeVar("T")


class BrokerObjectNotFound(LookupError):
    """RabbitMQ has no object of this name."""


async def retry_while_unavailable(attempt: Callable[[], Awaitable[T]]) -> T:
    """Calls `attempt` until it succeeds, for half a minute at least. Raises its last error."""
    for _ in range(ATTEMPTS):
        try:
            return await attempt()
        except UNAVAILABLE_ERRORS:
            await asyncio.sleep(PAUSE_SECONDS)
    return await attempt()


class ServersUnderFaults:
    """The databases and the broker of one shop.

    `at` is the shop.json of `make up`. Only `databases` and `broker_management` are read.
    """

    def __init__(self, at: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self._databases: dict[str, str] = at["databases"]
        self._management = urlsplit(str(at["broker_management"]))
        self._session = session

    @property
    def broker_user(self) -> str:
        """The user name with which the services log in to RabbitMQ."""
        return self._management.username or ""

    async def sql(self, database: str, query: str, *values: Any) -> list[Any]:
        url = self._databases[database]

        async def attempt() -> list[Any]:
            connection = cast(
                "Any",
                await asyncpg.connect(
                    url, timeout=CONNECT_TIMEOUT_SECONDS, command_timeout=RESPONSE_TIMEOUT_SECONDS
                ),
            )
            try:
                return [tuple(row) for row in await connection.fetch(query, *values)]
            finally:
                await connection.close()

        return await retry_while_unavailable(attempt)

    @asynccontextmanager
    async def snapshot_held(self, database: str) -> AsyncGenerator[None]:
        """Keeps a read-only transaction open, as a `pg_dump` does. Raises at the end if the server ended it."""
        connection = cast("Any", await asyncpg.connect(self._databases[database], timeout=CONNECT_TIMEOUT_SECONDS))
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute("SELECT 1")
                yield
                await connection.execute("SELECT 1")
        finally:
            await connection.close()

    async def broker(self, method: str, path: str, body: Any = None) -> Any:
        """Calls RabbitMQ's management API. Returns the decoded body, or None if the response has no body.

        Raises BrokerObjectNotFound for 404, and aiohttp.ClientResponseError for any other error status.
        """
        user, password = self._management.username or "", self._management.password or ""
        headers = {"Authorization": aiohttp.encode_basic_auth(user, password)}
        limit = aiohttp.ClientTimeout(total=RESPONSE_TIMEOUT_SECONDS)
        url = f"http://{self._management.hostname}:{self._management.port}/api/{path}"

        async def attempt() -> Any:
            async with self._session.request(method, url, headers=headers, json=body, timeout=limit) as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    raise BrokerObjectNotFound(path)
                response.raise_for_status()
                return await response.json() if response.status == 200 else None

        return await retry_while_unavailable(attempt)

    async def undecided(self) -> int:
        [(count,)] = await self.sql("orders", "SELECT count(*) FROM orders WHERE status = 'NEW'")
        return count

    async def statuses(self, order_ids: list[str]) -> dict[str, str]:
        """Returns the status of each of these orders that is stored."""
        query = "SELECT id::text, status FROM orders WHERE id = ANY ($1::text[]::uuid[])"
        return dict(await self.sql("orders", query, order_ids))

    async def waiting(self) -> dict[str, int]:
        """Returns how many messages or rows wait in each queue, outbox and inbox, and as dead letters.

        Empty places are left out. -1 means that RabbitMQ has not counted a queue yet.
        """
        counts = {queue["name"]: queue.get("messages", -1) for queue in await self._queues()}
        for database, rows in WAITING:
            [(counts[f"{database}: {rows}"],)] = await self.sql(database, f"SELECT count(*) FROM {rows}")
        return {place: count for place, count in counts.items() if count}

    async def delete_all(self) -> None:
        """Recreates the databases empty and deletes all queues. No replica may be running."""
        for name in DATABASES:
            await self.sql("admin", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await self.sql("admin", f"CREATE DATABASE {name} OWNER {name}")
        for queue in await self._queues():
            await self.broker("DELETE", f"queues/%2F/{queue['name']}")

    async def audit(self) -> tuple[int, str]:
        """Runs the auditor. Returns its exit status and its output."""
        urls = {f"{name.upper()}_DATABASE_URL": self._databases[name] for name in DATABASES}
        command = sys.executable, "-m", "auditor", "--grace", "5", "--rows", "3"
        result = await run_program(*command, cwd=ROOT, env=os.environ | urls, stdout=PIPE)
        return result.status, result.output

    async def _queues(self) -> list[dict[str, Any]]:
        return await self.broker("GET", "queues")
