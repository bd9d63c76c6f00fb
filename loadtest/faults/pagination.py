"""Reads a list of a customer from the API, page by page, with retries."""

import asyncio
from typing import Any

import aiohttp

from loadtest.faults.keyed_request import UNKNOWN_OUTCOME

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=10)


class UnexplainedResponse(Exception):
    """A list request got a status that no failing part explains."""


async def read_all_items(session: aiohttp.ClientSession, url: str, path: str, user_id: str) -> list[dict[str, Any]]:
    """Returns all items of a list. The list of an account that does not exist is empty."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await _read_page(session, f"{url}{path}?limit=100{cursor}", user_id)
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = f"&cursor={page['next_cursor']}"


async def _read_page(session: aiohttp.ClientSession, url: str, user_id: str) -> dict[str, Any]:
    while True:
        try:
            async with session.get(url, headers={"X-User-Id": user_id}, timeout=REQUEST_TIMEOUT) as response:
                if response.status == 200:
                    return await response.json()
                if response.status == 404 and "/account/" in url:
                    return {"items": [], "next_cursor": None}
                if response.status not in UNKNOWN_OUTCOME:
                    raise UnexplainedResponse(f"{url}: {response.status} {await response.text()}")
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        await asyncio.sleep(0.5)
