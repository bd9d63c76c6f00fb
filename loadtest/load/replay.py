"""How fast one core replays WAL, which is all that a standby can follow with: PostgreSQL replays in one process."""

import asyncio
import re
from pathlib import Path
from typing import Any, cast

import asyncpg

from loadtest.load.local import LocalShop
from loadtest.load.parameters import Failed

PATIENCE_SECONDS = 60
REDONE = re.compile(
    r"redo starts at (\w+/\w+).*?redo done at (\w+/\w+) system usage: CPU: user: ([\d.]+) s, system: ([\d.]+) s",
    re.DOTALL,
)


async def checkpoint(shop: LocalShop) -> None:
    """What is written from here on is what a crash makes PostgreSQL replay."""
    connection = cast("Any", await asyncpg.connect(shop.database_server))
    await connection.execute("CHECKPOINT")
    await connection.close()


async def bytes_a_second(shop: LocalShop) -> float:
    """Kills PostgreSQL, and reads in its log what it then did with the WAL since the last checkpoint."""
    before = len(_log(shop))
    await shop.kill("postgres")
    for _ in range(PATIENCE_SECONDS):
        await asyncio.sleep(1)
        if rate := told(_log(shop)[before:]):
            return rate
    raise Failed("PostgreSQL does not say that it replayed anything")


def told(log: str) -> float:
    """Bytes a second of a core; 0 when the log says nothing of a replay, or of one too short to be timed."""
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
