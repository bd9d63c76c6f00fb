"""What can happen on the way between two of them."""

import asyncio
import time
from random import Random

from loadtest.faults.links import Link
from loadtest.faults.shop import Shop

# PostgreSQL's message that ends a prepared statement, and commits one that is a transaction of its own.
SYNC = b"S\x00\x00\x00\x04"


async def answers_to_commit_lost(service: str, shop: Shop, random: Random) -> str:
    """The server commits, and who asked never hears of it."""
    link = shop.links[f"{service} to postgres"]
    deadline = time.monotonic() + 5
    words = random.choice([b"COMMIT;", SYNC])
    link.lose_answers_to(words)
    while link.snared < 3 and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    link.heal()
    lost, link.snared = link.snared, 0
    return f"{lost} answers lost to {words!r}"


async def cut(shop: Shop, random: Random) -> str:
    link, seconds = _some_link(shop, random), random.uniform(1, 8)
    await link.close()
    await asyncio.sleep(seconds)
    await link.open()
    return f"{link.way.name} for {seconds:.1f} s"


async def half_open(shop: Shop, random: Random) -> str:
    """Nothing goes through and nothing closes; in the end the connections turn out to be gone."""
    link, seconds = _some_link(shop, random), random.uniform(5, 20)
    link.hold()
    await asyncio.sleep(seconds)
    link.abort()
    link.heal()
    return f"{link.way.name} for {seconds:.1f} s"


async def one_way(shop: Shop, random: Random) -> str:
    """What is said arrives, and the answers do not; or the other way round. Then all of it arrives late."""
    link, seconds, direction = _some_link(shop, random), random.uniform(5, 20), random.choice(["there", "back"])
    link.hold(direction)
    await asyncio.sleep(seconds)
    link.heal()
    return f"{link.way.name}, nothing comes {direction} for {seconds:.1f} s"


async def slow(shop: Shop, random: Random) -> str:
    link, seconds = _some_link(shop, random), random.uniform(5, 15)
    link.slow(latency := random.uniform(0.05, 0.4))
    await asyncio.sleep(seconds)
    link.heal()
    return f"{link.way.name}, {latency * 1000:.0f} ms for {seconds:.1f} s"


def _some_link(shop: Shop, random: Random) -> Link:
    return shop.links[random.choice(sorted(shop.links))]
