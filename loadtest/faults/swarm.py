"""A shop on Docker Swarm (deploy/swarm). No server has a port, so they are asked in their containers."""

import asyncio
import json
import os
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from loadtest.faults.contents import ROOT, Contents
from loadtest.faults.ending import undisturbed
from loadtest.faults.page import PageUnderFaults
from loadtest.faults.programs import ended

STACK = "gozon-faults"
# Users with ten sockets each, which is the most: enough of them to see how a replica closes its own.
ONLOOKERS, SOCKETS = 30, 10
FIRST, NEXT = "faults", "faults-next"
NEVER_READY = "gozon:never-ready"
DOCKERFILE = f'FROM gozon:{FIRST}\nENTRYPOINT ["sh", "-c", "trap exit TERM; sleep infinity & wait"]\n'
DEPLOYED_SECONDS, REMOVED_SECONDS, LIVE_SECONDS = 150, 150, 60
# nginx and the gateway look every five seconds where the replicas are.
SEEN_SECONDS = 10


class Swarm:
    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.session = session
        self.contents: Contents = Inside(self)
        self.wiped_at: list[float] = []
        names = (f"onlooker-{n}" for n in range(ONLOOKERS))
        self.onlookers = [PageUnderFaults(session, self.url, name) for name in names for _ in range(SOCKETS)]
        self._environment = {**os.environ, "COMPOSE_PROJECT_NAME": STACK, "GOZON_PORT": str(port)}

    async def run(self, *command: str, given: bytes | None = None, tag: str = FIRST) -> str:
        status, output = await self.outcome(*command, given=given, tag=tag)
        if status:
            raise RuntimeError(f"failed: {' '.join(command)}\n{output}")
        return output

    async def outcome(self, *command: str, given: bytes | None = None, tag: str = FIRST) -> tuple[int, str]:
        """Exit status and all that was said; the images are those of `tag`."""
        environment = self._environment | {"TAG": tag}
        done = await ended(*command, given=given, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE, stderr=STDOUT)
        return done.status, done.said

    async def docker(self, *words: str, given: bytes | None = None) -> str:
        return await self.run("docker", *words, given=given)

    async def build(self) -> None:
        for tag in (FIRST, NEXT):
            await self.docker("build", "--quiet", "--tag", f"gozon:{tag}", "--build-arg", f"REVISION={tag}", ".")
            await self.docker("build", "--quiet", "--tag", f"gozon-web:{tag}", "web")
        await self.docker("build", "--quiet", "--tag", NEVER_READY, "-", given=DOCKERFILE.encode())

    async def deploy(self, tag: str) -> None:
        """Returns when all replicas are of that release, and ready."""
        await self.run("deploy/swarm/deploy", "--resolve-image=never", "--detach=true", tag=tag)
        await self._until(lambda: self._all_of(tag))
        await self._until(self.well)

    async def _until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + DEPLOYED_SECONDS
        while not await holds():
            if time.monotonic() > deadline:
                raise RuntimeError(f"not in time\n{await self.docker('stack', 'ps', '--no-trunc', STACK)}")
            await asyncio.sleep(1)

    async def _all_of(self, tag: str) -> bool:
        words = ("--filter", "desired-state=running", "--format", "{{.Image}} {{.CurrentState}}")
        tasks = [line.split() for line in (await self.docker("stack", "ps", *words, STACK)).splitlines()]
        ours = [(image.partition(":")[2], state) for image, state, *_ in tasks if image.startswith("gozon")]
        return set(ours) == {(tag, "Running")}

    async def update(self, name: str, *words: str) -> None:
        await self.docker("service", "update", "--quiet", *words, f"{STACK}_{name}")

    async def scale(self, **replicas: int) -> None:
        wanted = [f"{STACK}_{name}={count}" for name, count in replicas.items()]
        await self.docker("service", "scale", "--detach=true", *wanted)
        await asyncio.sleep(SEEN_SECONDS)
        await self._until(self.well)

    async def inspect(self, name: str) -> dict[str, Any]:
        [service] = json.loads(await self.docker("service", "inspect", f"{STACK}_{name}"))
        return service

    async def inside(self, name: str, *command: str, given: bytes | None = None) -> str:
        """In the container of a service that has one."""
        container = (await self.docker("ps", "--quiet", "--filter", f"name={STACK}_{name}.1")).split()[0]
        return await self.docker("exec", "--interactive", container, *command, given=given)

    async def well(self) -> bool:
        """Swarm counts a replica once it has been ready."""
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


class Inside(Contents):
    """Asked with the tools in the containers."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm

    async def sql(self, database: str, query: str, *values: Any) -> list[Any]:
        arrays = "".join(" '{" + ",".join(value) + "}'" for value in values)
        script = f"SELECT row_to_json(found) FROM ({query}) found \\bind{arrays} \\g\n"
        psql = ("psql", "-qAt", "-U", database, database)
        rows = await self._swarm.inside(f"{database}-db", *psql, given=script.encode())
        return [tuple(json.loads(row).values()) for row in rows.splitlines()]

    async def audit(self) -> tuple[int, str]:
        compose = ("docker", "compose", "-f", "docker-compose.yml", "-f", "deploy/swarm/auditor.yml")
        auditor = ("run", "--rm", "--no-deps", "auditor", "--grace", "5", "--rows", "3")
        return await self._swarm.outcome(*compose, *auditor)

    async def _queues(self) -> list[dict[str, Any]]:
        words = ("rabbitmqctl", "--quiet", "list_queues", "name", "messages", "--formatter", "json")
        return json.loads(await self._swarm.inside("rabbitmq", *words))


@asynccontextmanager
async def a_swarm(port: int) -> AsyncGenerator[Swarm]:
    """A fresh one, with nothing left running whatever happens."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        swarm = Swarm(port, session)
        await swarm.build()
        ours = "inactive" in await swarm.docker("info", "--format", "{{.Swarm.LocalNodeState}}")
        if ours:
            await swarm.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        try:
            node = await swarm.docker("info", "--format", "{{.Swarm.NodeID}}")
            await swarm.docker("node", "update", "--label-add", "gozon.data=true", node.strip())
            began = time.monotonic()
            await swarm.deploy(FIRST)
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
                await undisturbed(swarm.remove())
            finally:
                if ours:
                    await swarm.docker("swarm", "leave", "--force")
