"""Reads the amounts of data in a local shop: rows, queued messages, dead letters, keys in Redis, asyncio tasks.

NaN means that a replica did not give the value.
"""

import asyncio
import math
import re
from typing import Any, Self

import aiohttp
import asyncpg
from redis.asyncio import Redis

from loadtest.load.local_shop import LocalShop
from shopkit.messaging.topology import RESOLVED

DEAD_LETTER_QUEUE_SUFFIX = ".dead"
WAITING_ROWS = {
    "orders": {"outbox": "SELECT count(*) FROM outbox"},
    "payments": {
        "outbox": "SELECT count(*) FROM outbox",
        "inbox": "SELECT count(*) FROM inbox WHERE processed_at IS NULL",
    },
}
UNRESOLVED_DEAD_LETTERS = "SELECT count(*) FROM dead_letters WHERE resolved_at IS NULL"
TABLES = {
    "orders": ("orders", "outbox"),
    "payments": ("inbox", "inbox_in_hand", "ledger_entries", "outbox", "payments"),
}
SIZE = "SELECT pg_total_relation_size($1::text::regclass) / 1048576.0"
PAUSE_SECONDS = 0.5
# Part of the keys that mark events as published. They expire after an hour, and far outnumber all other keys.
MARK = b":d:"


class Stores:
    def __init__(self, shop: LocalShop, databases: dict[str, Any]) -> None:
        self._replicas = shop.replica_urls
        self._queues = f"{shop.broker_management}/api/queues/%2F"
        self._databases = databases
        self._redis: Any = Redis.from_url(shop.redis)
        self._session = aiohttp.ClientSession()

    @classmethod
    async def of(cls, shop: LocalShop) -> Self:
        return cls(shop, {name: await asyncpg.connect(url) for name, url in shop.databases.items()})

    async def close(self) -> None:
        await self._session.close()
        await self._redis.aclose()
        for connection in self._databases.values():
            await connection.close()

    async def waiting(self) -> dict[str, float]:
        return {
            f"{database} {table}": float(await self._databases[database].fetchval(query))
            for database, queries in WAITING_ROWS.items()
            for table, query in queries.items()
        }

    async def queues(self) -> dict[str, float]:
        """Returns the messages in each queue, except in queues of dead letters."""
        lengths = await self._lengths()
        return {name: count for name, count in lengths.items() if not _has_dead_letters(name)}

    async def dead_letters(self) -> dict[str, float]:
        """Returns the numbers of unresolved dead letters in the broker and the database."""
        lengths = await self._lengths()
        queues = {name: count for name, count in lengths.items() if name.endswith(DEAD_LETTER_QUEUE_SUFFIX)}
        rows = float(await self._databases["payments"].fetchval(UNRESOLVED_DEAD_LETTERS))
        return queues | {"payments dead_letters": rows}

    async def _lengths(self) -> dict[str, float]:
        """Returns the length of every queue.

        Waits until RabbitMQ knows all lengths. In the first seconds of a queue, or of RabbitMQ, it does not.
        """
        while True:
            async with self._session.get(self._queues, raise_for_status=True) as response:
                lengths = {queue["name"]: queue.get("messages") for queue in await response.json()}
            if None not in lengths.values():
                return {name: float(length) for name, length in lengths.items()}
            await asyncio.sleep(PAUSE_SECONDS)

    async def sizes(self) -> dict[str, float]:
        return {
            f"{database} {table}": float(await self._databases[database].fetchval(SIZE, table))
            for database, tables in TABLES.items()
            for table in tables
        }

    async def wal_bytes(self) -> float:
        """Returns the WAL written by the PostgreSQL server, which has both databases."""
        return float(await self._databases["orders"].fetchval("SELECT wal_bytes FROM pg_stat_wal"))

    async def keys(self) -> dict[str, float]:
        """Returns the number of users' keys, without the marks of published events."""
        found = [key async for key in self._redis.scan_iter(match="n:*", count=5000) if MARK not in key]
        return {"of users": float(len(found))}

    async def tasks(self) -> dict[str, float]:
        counts = await asyncio.gather(*map(self._tasks, self._replicas.values()))
        return dict(zip(self._replicas, counts, strict=True))

    async def _tasks(self, url: str) -> float:
        try:
            async with self._session.get(f"{url}/metrics") as response:
                found = re.search(r"^gozon_tasks\{.*\} (\S+)", await response.text(), re.MULTILINE)
        except aiohttp.ClientError:
            return math.nan
        return float(found[1]) if found else math.nan


def _has_dead_letters(queue: str) -> bool:
    return queue.endswith(DEAD_LETTER_QUEUE_SUFFIX) or queue == RESOLVED
