"""Runs the Postman collection with newman, like a user."""

import asyncio

from tests.conftest import Shop
from tests.support import ROOT

POSTMAN = ROOT / "postman"
LOCK = POSTMAN / "package-lock.json"
INSTALLED = POSTMAN / "node_modules" / ".package-lock.json"


async def npm(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *("npm", "--prefix", str(POSTMAN), *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_the_postman_collection_passes_repeatedly(shop: Shop) -> None:
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < LOCK.stat().st_mtime:
        await npm("ci", "--no-audit", "--no-fund")
    for _ in range(2):
        await npm("test", "--", "--color", "off", "--env-var", f"base_url={shop.url}")
