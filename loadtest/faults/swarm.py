"""A shop on Docker Swarm (deploy/swarm). Its servers publish no ports, so commands run in their containers."""

import asyncio
import json
import os
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from loadtest.faults.cancellation import finish_even_if_cancelled
from loadtest.faults.page import PageUnderFaults
from loadtest.faults.programs import run_program
from loadtest.faults.stores import ROOT, ServersUnderFaults

STACK = "gozon-faults"
# Each user has ten sockets, the limit per user. 300 sockets show how fast a replica closes its sockets.
ONLOOKERS, SOCKETS = 30, 10
FIRST_TAG, NEXT_TAG = "faults", "faults-next"
NEVER_READY = "gozon:never-ready"
DOCKERFILE = f'FROM gozon:{FIRST_TAG}\nENTRYPOINT ["sh", "-c", "trap exit TERM; sleep infinity & wait"]\n'
DEPLOYED_SECONDS, REMOVED_SECONDS, LIVE_SECONDS = 150, 150, 60
# nginx and the gateway look up the addresses of the replicas every five seconds.
DISCOVERY_SECONDS = 10


class Swarm:
    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.session = session
        self.stores: ServersUnderFaults = StoresInContainers(self)
        self.wiped_at: list[float] = []
        names = (f"onlooker-{n}" for n in range(ONLOOKERS))
        self.onlookers = [PageUnderFaults(session, self.url, name) for name in names for _ in range(SOCKETS)]
        self._environment = {**os.environ, "COMPOSE_PROJECT_NAME": STACK, "GOZON_PORT": str(port)}

    async def run(self, *command: str, stdin_data: bytes | None = None, tag: str = FIRST_TAG) -> str:
        status, output = await self.outcome(*command, stdin_data=stdin_data, tag=tag)
        if status:
            raise RuntimeError(f"failed: {' '.join(command)}\n{output}")
        return output

    async def outcome(
        self, *command: str, stdin_data: bytes | None = None, tag: str = FIRST_TAG
    ) -> tuple[int, str]:
        """Returns the exit status and the output of a command that uses the images of `tag`."""
        environment = self._environment | {"TAG": tag}
        result = await run_program(
            *command, stdin_data=stdin_data, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE, stderr=STDOUT
        )
        return result.status, result.output

    async def docker(self, *words: str, stdin_data: bytes | None = None) -> str:
        return await self.run("docker", *words, stdin_data=stdin_data)

    async def build(self) -> None:
        for tag in (FIRST_TAG, NEXT_TAG):
            await self.docker("build", "--quiet", "--tag", f"gozon:{tag}", "--build-arg", f"REVISION={tag}", ".")
            await self.docker("build", "--quiet", "--tag", f"gozon-web:{tag}", "web")
        await self.docker("build", "--quiet", "--tag", NEVER_READY, "-", stdin_data=DOCKERFILE.encode())

    async def deploy(self, tag: str) -> None:
        """Deploys a release. Returns when all replicas run it and are ready."""
        await self.run("deploy/swarm/deploy", "--resolve-image=never", "--detach=true", tag=tag)
        await self._until(lambda: self._all_run(tag))
        await self._until(self.all_ready)

    async def _until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + DEPLOYED_SECONDS
        while not await holds():
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"timeout: {DEPLOYED_SECONDS} s\n{await self.docker('stack', 'ps', '--no-trunc', STACK)}"
                )
            await asyncio.sleep(1)

    async def _all_run(self, tag: str) -> bool:
        words = ("--filter", "desired-state=running", "--format", "{{.Image}} {{.CurrentState}}")
        tasks = [line.split() for line in (await self.docker("stack", "ps", *words, STACK)).splitlines()]
        replicas = [(image.partition(":")[2], state) for image, state, *_ in tasks if image.startswith("gozon")]
        return set(replicas) == {(tag, "Running")}

    async def update(self, name: str, *words: str) -> None:
        await self.docker("service", "update", "--quiet", *words, f"{STACK}_{name}")

    async def scale(self, **replicas: int) -> None:
        wanted = [f"{STACK}_{name}={count}" for name, count in replicas.items()]
        await self.docker("service", "scale", "--detach=true", *wanted)
        await asyncio.sleep(DISCOVERY_SECONDS)
        await self._until(self.all_ready)

    async def inspect(self, name: str) -> dict[str, Any]:
        [service] = json.loads(await self.docker("service", "inspect", f"{STACK}_{name}"))
        return service

    async def inside(self, name: str, *command: str, stdin_data: bytes | None = None) -> str:
        """Runs a command in the container of a service with a single replica."""
        container = (await self.docker("ps", "--quiet", "--filter", f"name={STACK}_{name}.1")).split()[0]
        return await self.docker("exec", "--interactive", container, *command, stdin_data=stdin_data)

    async def all_ready(self) -> bool:
        """Returns whether all replicas run. Swarm counts a replica as running once it is ready."""
        lines = (await self.docker("stack", "services", "--format", "{{.Replicas}}", STACK)).splitlines()
        counts = [line.split()[0].split("/") for line in lines]
        return bool(counts) and all(running == wanted != "0" for running, wanted in counts)

    async def remove(self) -> None:
        await self.docker("stack", "rm", STACK)
        label = f"label=com.docker.stack.namespace={STACK}"
        deadline = time.monotonic() + REMOVED_SECONDS
        while left := await self.docker("ps", "--all", "--quiet", "--filter", label):
            if time.monotonic() > deadline:
                raise RuntimeError(f"containers are left: {left}")
            await asyncio.sleep(1)
        for volume in (await self.docker("volume", "ls", "--quiet", "--filter", label)).split():
            await self.docker("volume", "rm", volume)


class StoresInContainers(ServersUnderFaults):
    """Reads the databases and the broker with the tools in their containers."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm

    async def sql(self, database: str, query: str, *values: Any) -> list[Any]:
        arrays = "".join(" '{" + ",".join(value) + "}'" for value in values)
        script = f"SELECT row_to_json(found) FROM ({query}) found \\bind{arrays} \\g\n"
        psql = ("psql", "-qAt", "-U", database, database)
        rows = await self._swarm.inside(f"{database}-db", *psql, stdin_data=script.encode())
        return [tuple(json.loads(row).values()) for row in rows.splitlines()]

    async def audit(self) -> tuple[int, str]:
        compose = ("docker", "compose", "-f", "docker-compose.yml", "-f", "deploy/swarm/auditor.yml")
        auditor = ("run", "--rm", "--no-deps", "auditor", "--grace", "5", "--rows", "3")
        return await self._swarm.outcome(*compose, *auditor)

    async def _queues(self) -> list[dict[str, Any]]:
        words = ("rabbitmqctl", "--quiet", "list_queues", "name", "messages", "--formatter", "json")
        return json.loads(await self._swarm.inside("rabbitmq", *words))


@asynccontextmanager
async def running_swarm(port: int) -> AsyncGenerator[Swarm]:
    """Starts an empty stack, and removes it at the end, also after an error or a signal.

    If this machine is not in a swarm, a swarm is created and left again.
    """
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        swarm = Swarm(port, session)
        await swarm.build()
        swarm_created = "inactive" in await swarm.docker("info", "--format", "{{.Swarm.LocalNodeState}}")
        if swarm_created:
            await swarm.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        try:
            node = await swarm.docker("info", "--format", "{{.Swarm.NodeID}}")
            await swarm.docker("node", "update", "--label-add", "gozon.data=true", node.strip())
            began = time.monotonic()
            await swarm.deploy(FIRST_TAG)
            print(f"the stack is up after {time.monotonic() - began:.0f} s", flush=True)
            watching = [asyncio.create_task(page.run()) for page in swarm.onlookers]
            try:
                async with asyncio.timeout(LIVE_SECONDS):
                    await asyncio.gather(*(page.live.wait() for page in swarm.onlookers))
                yield swarm
            finally:
                for task in watching:
                    task.cancel()
        finally:
            try:
                await finish_even_if_cancelled(swarm.remove())
            finally:
                if swarm_created:
                    await swarm.docker("swarm", "leave", "--force")
