"""What waits and what is kept in a local shop: in its tables, its queues, in Redis, and as tasks of its processes.

NaN is what a part of the shop does not say.
"""

import asyncio
import math
import re
from typing import Any, Self

import aiohttp
import asyncpg
from redis.asyncio import Redis

from loadtest.load.local import LocalShop
from shopkit.messaging.topology import RESOLVED

DEAD = ".dead"
WAITING = {
    "orders": {"outbox": "SELECT count(*) FROM outbox"},
    "payments": {
        "outbox": "SELECT count(*) FROM outbox",
        "inbox": "SELECT count(*) FROM inbox WHERE processed_at IS NULL",
    },
}
SET_ASIDE = "SELECT count(*) FROM dead_letters WHERE resolved_at IS NULL"
TABLES = {
    "orders": ("orders", "outbox"),
    "payments": ("inbox", "inbox_in_hand", "ledger_entries", "outbox", "payments"),
}
SIZE = "SELECT pg_total_relation_size($1::text::regclass) / 1048576.0"
ASK_AGAIN = 0.5
# What marks an event as published lives for an hour by design, and is many times the rest.
MARK = b":d:"


class Stores:
    def __init__(self, shop: LocalShop, databases: dict[str, Any]) -> None:
        self._replicas = shop.addresses
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
            for database, queries in WAITING.items()
            for table, query in queries.items()
        }

    async def queues(self) -> dict[str, float]:
        """Messages in each, without those that somebody set aside."""
        return {name: count for name, count in (await self._lengths()).items() if not _holds_letters(name)}

    async def dead_letters(self) -> dict[str, float]:
        """That nobody has resolved yet."""
        found = {name: count for name, count in (await self._lengths()).items() if name.endswith(DEAD)}
        return found | {"payments dead_letters": float(await self._databases["payments"].fetchval(SET_ASIDE))}

    async def _lengths(self) -> dict[str, float]:
        """Waits for RabbitMQ, which says nothing of a queue in its first seconds, and of all of them in its own."""
        while True:
            async with self._session.get(self._queues, raise_for_status=True) as answer:
                lengths = {queue["name"]: queue.get("messages") for queue in await answer.json()}
            if None not in lengths.values():
                return {name: float(length) for name, length in lengths.items()}
            await asyncio.sleep(ASK_AGAIN)

    async def sizes(self) -> dict[str, float]:
        return {
            f"{database} {table}": float(await self._databases[database].fetchval(SIZE, table))
            for database, tables in TABLES.items()
            for table in tables
        }

    async def wal_bytes(self) -> float:
        """Of the server, which has both databases."""
        return float(await self._databases["orders"].fetchval("SELECT wal_bytes FROM pg_stat_wal"))

    async def keys(self) -> dict[str, float]:
        """Of users, without the marks."""
        found = [key async for key in self._redis.scan_iter(match="n:*", count=5000) if MARK not in key]
        return {"of users": float(len(found))}

    async def tasks(self) -> dict[str, float]:
        counts = await asyncio.gather(*map(self._tasks, self._replicas.values()))
        return dict(zip(self._replicas, counts, strict=True))

    async def _tasks(self, url: str) -> float:
        try:
            async with self._session.get(f"{url}/metrics") as answer:
                found = re.search(r"^gozon_tasks\{.*\} (\S+)", await answer.text(), re.MULTILINE)
        except aiohttp.ClientError:
            return math.nan
        return float(found[1]) if found else math.nan


def _holds_letters(queue: str) -> bool:
    return queue.endswith(DEAD) or queue == RESOLVED
