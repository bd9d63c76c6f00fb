"""Faults of the processes of replicas."""

import asyncio
import signal
import time
from pathlib import Path
from random import Random

from loadtest.faults.points import POINTS
from loadtest.faults.service_under_faults import FAKETIME
from loadtest.faults.shop import ShopUnderFaults
from loadtest.faults.target import FaultNotInjected

REACH_POINT_SECONDS = 30.0
START_SECONDS, WRONG_CLOCK_SECONDS = 30.0, 10.0


async def killed(service: str, shop: ShopUnderFaults, random: Random) -> str:
    replica = random.choice(shop.replicas_of(service))
    await shop.kill(replica)
    return replica


async def killed_at(point: str, shop: ShopUnderFaults, random: Random) -> str:
    """Kills a replica at a point in the code, which the load makes it reach."""
    replica = random.choice(shop.replicas_of(*POINTS[point].services))
    count = random.randint(1, 5)
    trap = shop.directory / "traps" / replica
    trap.write_text(f"{point} {count}")
    deadline = time.monotonic() + REACH_POINT_SECONDS
    while trap.exists():
        if time.monotonic() > deadline:
            trap.unlink()
            raise FaultNotInjected(f"{replica} did not reach {point} within {REACH_POINT_SECONDS:.0f} s")
        await asyncio.sleep(0.02)
    return f"{replica}, at call {count}"


async def frozen(service: str, seconds: float, shop: ShopUnderFaults, random: Random) -> str:
    replica = random.choice(shop.replicas_of(service))
    await shop.signal(replica, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        await shop.signal(replica, signal.SIGCONT)
    return f"{replica}, {seconds:.0f} s"


async def wrong_clock(shop: ShopUnderFaults, random: Random) -> str:
    """Runs a replica with a clock that is an hour fast or slow, for ten seconds."""
    if not FAKETIME.exists():
        raise FaultNotInjected(f"{FAKETIME} does not exist; `make faults` installs it if it may use apt-get")
    replica = random.choice(shop.replicas_of("orders", "payments", "notifier"))
    shop.set_clock(replica, hours := random.choice(["-1h", "+1h"]))
    await shop.kill(replica)
    try:
        await _wait_until_ready(shop, replica, FAKETIME.name)
        await asyncio.sleep(WRONG_CLOCK_SECONDS)
    finally:
        shop.set_clock(replica, "")
        await shop.kill(replica)
    return f"{replica} {hours}"


async def _wait_until_ready(shop: ShopUnderFaults, replica: str, library: str) -> None:
    """Waits until the replica is ready and has loaded the library."""
    deadline = time.monotonic() + START_SECONDS
    while not (_has_loaded(await shop.pid(replica), library) and await shop.ready(replica)):
        if time.monotonic() > deadline:
            raise FaultNotInjected(f"{replica} is not ready with {library}")
        await asyncio.sleep(0.1)


def _has_loaded(pid: int, library: str) -> bool:
    try:
        return library in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False
