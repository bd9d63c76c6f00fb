"""Measures how fast PostgreSQL replays WAL.

PostgreSQL replays WAL in one process, so a standby cannot follow faster than one core replays.
"""

import asyncio
import re
from pathlib import Path
from typing import Any, cast

import asyncpg

from loadtest.load.local_shop import LocalShop
from loadtest.load.parameters import LoadError

PATIENCE_SECONDS = 60
REDONE = re.compile(
    r"redo starts at (\w+/\w+).*?redo done at (\w+/\w+) system usage: CPU: user: ([\d.]+) s, system: ([\d.]+) s",
    re.DOTALL,
)


async def checkpoint(shop: LocalShop) -> None:
    """Makes a checkpoint. After a crash, PostgreSQL replays only WAL that is written after it."""
    connection = cast("Any", await asyncpg.connect(shop.database_server))
    await connection.execute("CHECKPOINT")
    await connection.close()


async def bytes_per_second(shop: LocalShop) -> float:
    """Kills PostgreSQL, and reads from its log how fast it replayed the WAL since the last checkpoint.

    Raises LoadError if the log does not show a replay within PATIENCE_SECONDS.
    """
    before = len(_log(shop))
    await shop.kill("postgres")
    for _ in range(PATIENCE_SECONDS):
        await asyncio.sleep(1)
        if rate := replay_rate(_log(shop)[before:]):
            return rate
    raise LoadError(f"PostgreSQL's log shows no replay of WAL within {PATIENCE_SECONDS} s")


def replay_rate(log: str) -> float:
    """Returns bytes per second of a core, or 0 if the log shows no replay or one that took less than 10 ms."""
    found = REDONE.search(log)
    if not found:
        return 0.0
    first, last, user, system = found.groups()
    seconds = float(user) + float(system)
    return (_position(last) - _position(first)) / seconds if seconds else 0.0


def _log(shop: LocalShop) -> str:
    return (Path(shop.folder) / "logs" / "postgres.log").read_text(errors="replace")


def _position(lsn: str) -> int:
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)
