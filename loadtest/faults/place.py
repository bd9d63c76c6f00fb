"""What a trial needs of the shop that it breaks, wherever that runs, and what a fault is there."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Generic, NamedTuple, Protocol, TypeVar

import aiohttp

from loadtest.faults.contents import Contents

HEALED_IN = 60.0


class NotHappened(Exception):
    """The plan is at fault, and not the shop: what was to break did not."""


class Place(Protocol):
    """`wiped_at`: when Redis was started empty, by time.monotonic."""

    url: str
    session: aiohttp.ClientSession
    contents: Contents
    wiped_at: list[float]

    async def well(self) -> bool:
        """Whether every replica says that it is ready."""
        ...


On = TypeVar("On", bound=Place)


class InjectedFault(NamedTuple, Generic[On]):
    """Begins, lasts and ends within `inflict`, which says what it did and raises when it did nothing.

    `limit`: so many seconds after its end everything must be well.
    """

    name: str
    inflict: Callable[[On, Random], Awaitable[str]]
    limit: float = HEALED_IN
