"""Faults of the servers of a cluster.

A fault leaves its killed server stopped. The next step, `START`, starts it again.
"""

import asyncio
from functools import partial
from random import Random

from gozon.topology import TOPOLOGY
from loadtest.faults.cluster import Cluster
from loadtest.faults.stores import DATABASES
from loadtest.faults.target import InjectedFault

NODES = ("rabbitmq", "rabbitmq-2", "rabbitmq-3")
SENTINELS = ("sentinel", "sentinel-2", "sentinel-3")
# The time between a crash and the operator's reaction.
REACTION_SECONDS = 3.0


async def node_killed(cluster: Cluster, random: Random) -> str:
    """Kills the node with the leader of a random queue."""
    queue = await cluster.stores.broker("GET", f"queues/%2F/{random.choice(TOPOLOGY).name}")
    return await _killed_under_load(cluster, queue["leader"].removeprefix("rabbit@"))


async def leaders_moved(cluster: Cluster, random: Random) -> str:
    """Moves the leader of each queue to another node."""
    moved: list[str] = []
    for queue in TOPOLOGY:
        found = await cluster.stores.broker("GET", f"queues/%2F/{queue.name}")
        node = random.choice([member for member in found["members"] if member != found["leader"]])
        await cluster.compose("exec", "-T", NODES[0], "rabbitmq-queues", "transfer_leadership", queue.name, node)
        moved.append(f"{queue.name} to {node.removeprefix('rabbit@')}")
    return ", ".join(moved)


async def redis_killed(cluster: Cluster, random: Random) -> str:
    get_primary = ("redis-cli", "-p", "26379", "sentinel", "get-master-addr-by-name", "gozon")
    address, _ = (await cluster.compose("exec", "-T", random.choice(SENTINELS), *get_primary)).split()
    return await _killed_under_load(cluster, cluster.service_at(address))


async def database_killed(name: str, cluster: Cluster, random: Random) -> str:  # noqa: ARG001
    primary, standby = await _primary_and_standby(cluster, name)
    await _killed_under_load(cluster, primary)
    await cluster.promote(name)
    return f"{primary}, {standby} promoted"


async def standby_killed(name: str, cluster: Cluster, random: Random) -> str:
    """Stops the synchronous standby, so the primary cannot commit until it has a standby again."""
    _, standby = await _primary_and_standby(cluster, name)
    seconds = random.uniform(2, 8)
    await cluster.kill(standby)
    await asyncio.sleep(seconds)
    await cluster.up()
    return f"{standby} for {seconds:.1f} s and the time of its start"


async def all_started(cluster: Cluster, random: Random) -> str:  # noqa: ARG001
    await cluster.up()
    return "all servers run"


async def _killed_under_load(cluster: Cluster, service: str) -> str:
    await cluster.kill(service)
    await asyncio.sleep(REACTION_SECONDS)
    return service


async def _primary_and_standby(cluster: Cluster, name: str) -> tuple[str, str]:
    [(address,)] = await cluster.stores.sql(name, "SELECT host(inet_server_addr())")
    primary = cluster.service_at(address)
    (standby,) = {f"{name}-db", f"{name}-db-2"} - {primary}
    return primary, standby


START = InjectedFault("start it again", all_started)

# Each fault with its following steps, in the order of a run: every server runs again before the next one is killed.
CLUSTER_FAULTS: dict[str, list[InjectedFault[Cluster]]] = {
    faults[0].name: faults
    for faults in (
        [InjectedFault("kill a rabbitmq node", node_killed), START],
        [InjectedFault("move the leaders", leaders_moved)],
        [InjectedFault("kill the redis primary", redis_killed), START],
        *(
            step
            for name in DATABASES
            for step in (
                [InjectedFault(f"kill the {name} primary", partial(database_killed, name)), START],
                [InjectedFault(f"kill the {name} standby", partial(standby_killed, name))],
            )
        ),
    )
}
