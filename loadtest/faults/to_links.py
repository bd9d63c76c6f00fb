"""What can happen on the way between two of them."""

import asyncio
import time
from collections.abc import Sequence
from random import Random

from loadtest.faults.links import Link
from loadtest.faults.place import NotHappened
from loadtest.faults.shop import ShopUnderFaults

USED_IN = 10.0
LOST_IN, ENOUGH_LOST = 10.0, 3
# SYNC ends a prepared statement, and commits one that is a transaction of its own. Those that name this event are
# the one that accepts orders, and the one that takes events into the inbox.
SYNC = b"S\x00\x00\x00\x04"
WAYS_TO_COMMIT = ((b"COMMIT;",), (b"order.created", SYNC))


async def answers_to_commit_lost(service: str, shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    """The server commits, and who asked never hears of it: transactions, and statements that are one."""
    link = shop.links[f"{service} to postgres"]
    lost = [await _answers_lost(link, words) for words in WAYS_TO_COMMIT]
    return f"{lost[0]} answers to COMMIT, {lost[1]} to single statements"


async def _answers_lost(link: Link, words: Sequence[bytes]) -> int:
    deadline = time.monotonic() + LOST_IN
    link.lose_answers_to(*words)
    while link.touched < ENOUGH_LOST and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return _healed(link)


async def cut(shop: ShopUnderFaults, random: Random) -> str:
    link, seconds = await _some_link(shop, random), random.uniform(1, 8)
    await link.close()
    await asyncio.sleep(seconds)
    await link.open()
    return f"{link.route.name} for {seconds:.1f} s, {_healed(link)} connections"


async def half_open(shop: ShopUnderFaults, random: Random) -> str:
    """Nothing goes through and nothing closes; in the end the connections turn out to be gone."""
    link, seconds = await _some_link(shop, random), random.uniform(5, 20)
    link.hold()
    await asyncio.sleep(seconds)
    link.abort()
    _healed(link)
    return f"{link.route.name} for {seconds:.1f} s"


async def one_way(shop: ShopUnderFaults, random: Random) -> str:
    """What is said arrives, and the answers do not; or the other way round. Then all of it arrives late."""
    link, seconds = await _some_link(shop, random), random.uniform(5, 20)
    link.hold(direction := random.choice(["there", "back"]))
    await asyncio.sleep(seconds)
    _healed(link)
    return f"{link.route.name}, nothing comes {direction} for {seconds:.1f} s"


async def slow(shop: ShopUnderFaults, random: Random) -> str:
    link, seconds = await _some_link(shop, random), random.uniform(5, 15)
    link.slow(latency := random.uniform(0.05, 0.4))
    await asyncio.sleep(seconds)
    _healed(link)
    return f"{link.route.name}, {latency * 1000:.0f} ms for {seconds:.1f} s"


async def _some_link(shop: ShopUnderFaults, random: Random) -> Link:
    """With a connection on it: the load leads to one."""
    link = shop.links[random.choice(sorted(shop.links))]
    deadline = time.monotonic() + USED_IN
    while not link.used:
        if time.monotonic() > deadline:
            raise NotHappened(f"nobody goes by {link.route.name}")
        await asyncio.sleep(0.02)
    return link


def _healed(link: Link) -> int:
    touched = link.heal()
    if not touched:
        raise NotHappened(f"nothing was on its way from {link.route.name}")
    return touched
