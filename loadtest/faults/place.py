"""What a trial needs of the shop that it breaks, wherever that runs."""

from typing import Protocol

import aiohttp

from loadtest.faults.contents import Contents


class Place(Protocol):
    """`redis_wiped` once pages had to be told to read their orders."""

    url: str
    session: aiohttp.ClientSession
    contents: Contents
    redis_wiped: bool

    async def well(self) -> bool:
        """Whether every replica says that it is ready."""
        ...
