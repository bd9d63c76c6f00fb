"""What can happen to a replica."""

import asyncio
import signal
import time
from pathlib import Path
from random import Random

from loadtest.faults.fragile import FAKETIME
from loadtest.faults.place import NotHappened
from loadtest.faults.points import POINTS
from loadtest.faults.shop import ShopUnderFaults

POINT_SECONDS = 30.0
SERVES_IN, WRONG_SECONDS = 30.0, 10.0


async def killed(service: str, shop: ShopUnderFaults, random: Random) -> str:
    replica = random.choice(shop.of(service))
    await shop.kill(replica)
    return replica


async def killed_at(point: str, shop: ShopUnderFaults, random: Random) -> str:
    """The load leads the replica to the point."""
    replica = random.choice(shop.of(*POINTS[point].services))
    count = random.randint(1, 5)
    trap = shop.directory / "traps" / replica
    trap.write_text(f"{point} {count}")
    deadline = time.monotonic() + POINT_SECONDS
    while trap.exists():
        if time.monotonic() > deadline:
            trap.unlink()
            raise NotHappened(f"{replica} never came to {point}")
        await asyncio.sleep(0.02)
    return f"{replica}, at call {count}"


async def frozen(service: str, seconds: float, shop: ShopUnderFaults, random: Random) -> str:
    replica = random.choice(shop.of(service))
    await shop.signal(replica, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        await shop.signal(replica, signal.SIGCONT)
    return f"{replica}, {seconds:.0f} s"


async def wrong_clock(shop: ShopUnderFaults, random: Random) -> str:
    """A replica that lives an hour ahead or behind for a while."""
    if not FAKETIME.exists():
        raise NotHappened(f"there is no {FAKETIME}; make faults installs it where apt-get may")
    replica = random.choice(shop.of("orders", "payments", "notifier"))
    shop.set_clock(replica, hours := random.choice(["-1h", "+1h"]))
    await shop.kill(replica)
    try:
        await _until_it_serves(shop, replica, FAKETIME.name)
        await asyncio.sleep(WRONG_SECONDS)
    finally:
        shop.set_clock(replica, "")
        await shop.kill(replica)
    return f"{replica} {hours}"


async def _until_it_serves(shop: ShopUnderFaults, replica: str, library: str) -> None:
    """With that library in its process."""
    deadline = time.monotonic() + SERVES_IN
    while not (_has(await shop.pid(replica), library) and await shop.ready(replica)):
        if time.monotonic() > deadline:
            raise NotHappened(f"{replica} is not ready with {library}")
        await asyncio.sleep(0.1)


def _has(pid: int, library: str) -> bool:
    try:
        return library in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False
