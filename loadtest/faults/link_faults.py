"""Faults of the links between services and servers."""

import asyncio
import time
from collections.abc import Sequence
from random import Random

from loadtest.faults.links import Link
from loadtest.faults.shop import ShopUnderFaults
from loadtest.faults.target import FaultNotInjected

IN_USE_SECONDS = 10.0
LOSING_SECONDS, ENOUGH_LOST = 10.0, 3
# A Sync message ends a prepared statement. It commits a statement that is a transaction of its own. Two such
# statements name this event: the one that accepts orders, and the one that stores events in the inbox.
SYNC = b"S\x00\x00\x00\x04"
COMMIT_PATTERNS = ((b"COMMIT;",), (b"order.created", SYNC))


async def commit_responses_lost(service: str, shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    """Drops the connection after the server commits and before the service receives the response.

    Covers explicit transactions and single statements.
    """
    link = shop.links[f"{service} to postgres"]
    lost = [await _lose_responses(link, words) for words in COMMIT_PATTERNS]
    return f"{lost[0]} responses to COMMIT and {lost[1]} to single statements lost"


async def _lose_responses(link: Link, words: Sequence[bytes]) -> int:
    deadline = time.monotonic() + LOSING_SECONDS
    link.lose_responses_to(*words)
    while link.affected < ENOUGH_LOST and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return _heal(link)


async def cut(shop: ShopUnderFaults, random: Random) -> str:
    link, seconds = await _some_link(shop, random), random.uniform(1, 8)
    await link.close()
    await asyncio.sleep(seconds)
    await link.open()
    return f"{link.route.name} for {seconds:.1f} s, {_heal(link)} connections"


async def half_open(shop: ShopUnderFaults, random: Random) -> str:
    """Holds all data while the connections stay open, and drops the connections at the end."""
    link, seconds = await _some_link(shop, random), random.uniform(5, 20)
    link.hold()
    await asyncio.sleep(seconds)
    link.abort()
    _heal(link)
    return f"{link.route.name} for {seconds:.1f} s"


async def one_way(shop: ShopUnderFaults, random: Random) -> str:
    """Holds the data of one direction. At the end all of it is delivered."""
    link, seconds = await _some_link(shop, random), random.uniform(5, 20)
    link.hold(direction := random.choice(["to_server", "to_service"]))
    await asyncio.sleep(seconds)
    _heal(link)
    return f"{link.route.name}, no data {direction} for {seconds:.1f} s"


async def slow(shop: ShopUnderFaults, random: Random) -> str:
    link, seconds = await _some_link(shop, random), random.uniform(5, 15)
    link.slow(latency := random.uniform(0.05, 0.4))
    await asyncio.sleep(seconds)
    _heal(link)
    return f"{link.route.name}, {latency * 1000:.0f} ms for {seconds:.1f} s"


async def _some_link(shop: ShopUnderFaults, random: Random) -> Link:
    """Returns a random link as soon as it carries a connection, which the load opens sooner or later."""
    link = shop.links[random.choice(sorted(shop.links))]
    deadline = time.monotonic() + IN_USE_SECONDS
    while not link.in_use:
        if time.monotonic() > deadline:
            raise FaultNotInjected(f"no connection from {link.route.name}")
        await asyncio.sleep(0.02)
    return link


def _heal(link: Link) -> int:
    """Returns how often the fault affected the link. Raises FaultNotInjected if it never did."""
    affected = link.heal()
    if not affected:
        raise FaultNotInjected(f"no connection or data from {link.route.name} was affected")
    return affected
