"""Changes that an operator makes to a stack on Docker Swarm."""

import asyncio
import time
from functools import partial
from random import Random

from loadtest.faults.socket_closes import closes_by_replica, describe
from loadtest.faults.swarm import NEVER_READY, NEXT_TAG, Swarm
from loadtest.faults.target import FaultNotInjected, InjectedFault

SERVICES = ("notifier", "payments", "orders", "gateway", "web", "backstage")
# A rollback was measured at 141 s.
ROLLED_BACK_SECONDS = 300


async def updated(service: str, swarm: Swarm, random: Random) -> str:  # noqa: ARG001
    began = _now()
    await swarm.update(service, "--detach=false", "--force")
    return describe(closes_by_replica(swarm.onlookers, began))


async def all_updated(swarm: Swarm, random: Random) -> str:  # noqa: ARG001
    began = _now()
    await swarm.deploy(NEXT_TAG)
    return describe(closes_by_replica(swarm.onlookers, began))


async def broken_image(service: str, swarm: Swarm, random: Random) -> str:  # noqa: ARG001
    """Deploys an image that never becomes ready. Swarm must roll back to the previous image by itself."""
    before = (await swarm.inspect(service))["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    await swarm.update(service, "--detach=true", "--image", NEVER_READY)
    deadline = time.monotonic() + ROLLED_BACK_SECONDS
    while (found := await swarm.inspect(service))["UpdateStatus"]["State"] != "rollback_completed":
        if time.monotonic() > deadline:
            raise FaultNotInjected(f"no rollback: {found['UpdateStatus']}")
        await asyncio.sleep(1)
    after = found["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    if after != before:
        raise FaultNotInjected(f"rolled back to {after}, not to {before}")
    return f"{service} back at {after}"


async def scaled(swarm: Swarm, random: Random) -> str:  # noqa: ARG001
    """Scales up, then down below the initial number, then back to it."""
    began = _now()
    await swarm.scale(notifier=5, orders=3, gateway=3)
    await swarm.scale(notifier=2, orders=1, gateway=1)
    await swarm.scale(notifier=3, orders=2, gateway=2)
    return describe(closes_by_replica(swarm.onlookers, began))


def _now() -> float:
    return asyncio.get_running_loop().time()


STACK_FAULTS: dict[str, InjectedFault[Swarm]] = {
    fault.name: fault
    for fault in (
        *(InjectedFault(f"update {service}", partial(updated, service)) for service in SERVICES),
        InjectedFault("update everything", all_updated),
        InjectedFault("broken image of orders", partial(broken_image, "orders")),
        InjectedFault("scale", scaled),
    )
}
CLOSES_SOCKETS = frozenset({"update notifier", "update everything", "scale"})
