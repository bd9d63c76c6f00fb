"""What can happen to the servers of a cluster. Each is left as it is; `back` starts what does not run."""

import asyncio
from functools import partial
from random import Random

from gozon.topology import TOPOLOGY
from loadtest.faults.cluster import Cluster
from loadtest.faults.contents import DATABASES
from loadtest.faults.place import InjectedFault

NODES = ("rabbitmq", "rabbitmq-2", "rabbitmq-3")
SENTINELS = ("sentinel", "sentinel-2", "sentinel-3")
# So long somebody needs to notice that a database is gone.
NOTICED_SECONDS = 3.0


async def node_killed(cluster: Cluster, random: Random) -> str:
    """One that leads a queue that is consumed."""
    queue = await cluster.contents.broker("GET", f"queues/%2F/{random.choice(TOPOLOGY).name}")
    return await _killed_under_load(cluster, queue["leader"].removeprefix("rabbit@"))


async def leaders_moved(cluster: Cluster, random: Random) -> str:
    """Of every queue that is consumed, to another node than the one it is on."""
    moved: list[str] = []
    for queue in TOPOLOGY:
        found = await cluster.contents.broker("GET", f"queues/%2F/{queue.name}")
        node = random.choice([member for member in found["members"] if member != found["leader"]])
        await cluster.compose("exec", "-T", NODES[0], "rabbitmq-queues", "transfer_leadership", queue.name, node)
        moved.append(f"{queue.name} to {node.removeprefix('rabbit@')}")
    return ", ".join(moved)


async def redis_killed(cluster: Cluster, random: Random) -> str:
    ask = ("redis-cli", "-p", "26379", "sentinel", "get-master-addr-by-name", "gozon")
    address, _ = (await cluster.compose("exec", "-T", random.choice(SENTINELS), *ask)).split()
    return await _killed_under_load(cluster, cluster.at(address))


async def database_killed(name: str, cluster: Cluster, random: Random) -> str:  # noqa: ARG001
    primary, standby = await _primary_and_standby(cluster, name)
    await _killed_under_load(cluster, primary)
    await cluster.promote(name)
    return f"{primary}, {standby} promoted"


async def standby_killed(name: str, cluster: Cluster, random: Random) -> str:
    """Nothing commits until it is back."""
    _, standby = await _primary_and_standby(cluster, name)
    seconds = random.uniform(2, 8)
    await cluster.kill(standby)
    await asyncio.sleep(seconds)
    await cluster.up()
    return f"{standby} for {seconds:.1f} s and its start"


async def back(cluster: Cluster, random: Random) -> str:  # noqa: ARG001
    await cluster.up()
    return "all servers run"


async def _killed_under_load(cluster: Cluster, service: str) -> str:
    await cluster.kill(service)
    await asyncio.sleep(NOTICED_SECONDS)
    return service


async def _primary_and_standby(cluster: Cluster, name: str) -> tuple[str, str]:
    [(address,)] = await cluster.contents.sql(name, "SELECT host(inet_server_addr())")
    primary = cluster.at(address)
    (standby,) = {f"{name}-db", f"{name}-db-2"} - {primary}
    return primary, standby


START = InjectedFault("start it again", back)

# In this order, and with what follows each: every server is back before the next one goes.
FAULTS_OF_A_CLUSTER: dict[str, list[InjectedFault[Cluster]]] = {
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
