"""What an operator does to a stack."""

import asyncio
import time
from functools import partial
from random import Random

from loadtest.faults.closes import closed, told
from loadtest.faults.place import InjectedFault, NotHappened
from loadtest.faults.swarm import NEVER_READY, NEXT, Swarm

SERVICES = ("notifier", "payments", "orders", "gateway", "web", "backstage")
# It takes 141 s here.
ROLLED_BACK_SECONDS = 300


async def updated(service: str, swarm: Swarm, random: Random) -> str:  # noqa: ARG001
    began = _now()
    await swarm.update(service, "--detach=false", "--force")
    return told(closed(swarm.onlookers, began))


async def all_updated(swarm: Swarm, random: Random) -> str:  # noqa: ARG001
    began = _now()
    await swarm.deploy(NEXT)
    return told(closed(swarm.onlookers, began))


async def broken_image(service: str, swarm: Swarm, random: Random) -> str:  # noqa: ARG001
    """Swarm takes it back by itself."""
    before = (await swarm.inspect(service))["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    await swarm.update(service, "--detach=true", "--image", NEVER_READY)
    deadline = time.monotonic() + ROLLED_BACK_SECONDS
    while (found := await swarm.inspect(service))["UpdateStatus"]["State"] != "rollback_completed":
        if time.monotonic() > deadline:
            raise NotHappened(f"no rollback: {found['UpdateStatus']}")
        await asyncio.sleep(1)
    after = found["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    if after != before:
        raise NotHappened(f"rolled back to {after}, not to {before}")
    return f"{service} back at {after}"


async def scaled(swarm: Swarm, random: Random) -> str:  # noqa: ARG001
    """Up, down to less than before, and back."""
    began = _now()
    await swarm.scale(notifier=5, orders=3, gateway=3)
    await swarm.scale(notifier=2, orders=1, gateway=1)
    await swarm.scale(notifier=3, orders=2, gateway=2)
    return told(closed(swarm.onlookers, began))


def _now() -> float:
    return asyncio.get_running_loop().time()


FAULTS_OF_A_STACK: dict[str, InjectedFault[Swarm]] = {
    fault.name: fault
    for fault in (
        *(InjectedFault(f"update {service}", partial(updated, service)) for service in SERVICES),
        InjectedFault("update everything", all_updated),
        InjectedFault("broken image of orders", partial(broken_image, "orders")),
        InjectedFault("scale", scaled),
    )
}
CLOSES_SOCKETS = frozenset({"update notifier", "update everything", "scale"})
