"""Reading what the shop has of a customer, page by page, however often it takes."""

import asyncio
from typing import Any

import aiohttp

from loadtest.faults.history import UNKNOWN

LIMIT = aiohttp.ClientTimeout(total=10)


class Unexplained(Exception):
    """A list was answered with what no failure of a part explains."""


async def everything(session: aiohttp.ClientSession, url: str, path: str, user_id: str) -> list[dict[str, Any]]:
    """All items of a list; nothing where there is no account."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await _page(session, f"{url}{path}?limit=100{cursor}", user_id)
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = f"&cursor={page['next_cursor']}"


async def _page(session: aiohttp.ClientSession, url: str, user_id: str) -> dict[str, Any]:
    while True:
        try:
            async with session.get(url, headers={"X-User-Id": user_id}, timeout=LIMIT) as answer:
                if answer.status == 200:
                    return await answer.json()
                if answer.status == 404 and "/account/" in url:
                    return {"items": [], "next_cursor": None}
                if answer.status not in UNKNOWN:
                    raise Unexplained(f"{url}: {answer.status} {await answer.text()}")
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        await asyncio.sleep(0.5)
