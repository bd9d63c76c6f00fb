"""Starts and stops the shop of deploy/cluster in Compose, and reaches its servers at their container addresses."""

import asyncio
import json
import os
import time
from asyncio.subprocess import PIPE
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

from loadtest.faults.cancellation import finish_even_if_cancelled
from loadtest.faults.programs import run_program
from loadtest.faults.stores import DATABASES, ROOT, ServersUnderFaults

SERVICES = ("orders", "payments", "notifier", "gateway")
PASSWORDS = {"ORDERS_DB_PASSWORD": "orders", "PAYMENTS_DB_PASSWORD": "payments", "RABBITMQ_PASSWORD": "gozon"}
STANDBY_SECONDS = 120
FILES = "docker-compose.yml:deploy/cluster/docker-compose.yml"


class Cluster:
    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.session = session
        self.wiped_at: list[float] = []
        self._environment = {
            **os.environ,
            **PASSWORDS,
            "COMPOSE_FILE": FILES,
            # Overrides the caller's environment, because `down` deletes the volumes of this project.
            "COMPOSE_PROJECT_NAME": "gozon-faults",
            "GOZON_PORT": str(port),
        }
        self._addresses: dict[str, list[str]] = {}
        self._replicas: dict[str, int] = {}

    async def run(self, *command: str) -> str:
        result = await run_program(*command, cwd=ROOT, env=self._environment, stdout=PIPE, stderr=PIPE)
        if result.status:
            raise RuntimeError(f"failed: {' '.join(command)}\n{result.errors}")
        return result.output

    async def compose(self, *words: str) -> str:
        return await self.run("docker", "compose", *words)

    async def up(self) -> None:
        """Starts the missing containers. Returns when all are healthy and each database has a standby."""
        await self.compose("up", "--build", "--detach", "--wait")
        await self.refresh_addresses()
        self._replicas = await self._configured_replicas()
        deadline = time.monotonic() + STANDBY_SECONDS
        for name in DATABASES:
            while not await self.stores.sql(name, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{name} has no synchronous standby after {STANDBY_SECONDS} s")
                await asyncio.sleep(0.5)

    async def _configured_replicas(self) -> dict[str, int]:
        """Returns the number of replicas of each service in the Compose files."""
        services = json.loads(await self.compose("config", "--format", "json"))["services"]
        return {name: services[name].get("deploy", {}).get("replicas", 1) for name in SERVICES}

    async def down(self) -> None:
        await self.compose("down", "--volumes", "--timeout", "10")

    async def kill(self, service: str) -> str:
        await self.compose("kill", service)
        await self.refresh_addresses()
        return service

    async def promote(self, database: str) -> None:
        await self.run("deploy/cluster/promote", database)

    async def refresh_addresses(self) -> None:
        """Reads the addresses of the running containers: a restarted container can have another address."""
        ids = (await self.compose("ps", "--quiet")).split()
        self._addresses = defaultdict(list)
        for container in json.loads(await self.run("docker", "inspect", *ids)):
            networks: dict[str, Any] = container["NetworkSettings"]["Networks"]
            service = container["Config"]["Labels"]["com.docker.compose.service"]
            self._addresses[service] += [next(network["IPAddress"] for network in networks.values())]
        self.stores = ServersUnderFaults(self._store_urls(), self.session)

    def service_at(self, address: str) -> str:
        return next(service for service, addresses in self._addresses.items() if address in addresses)

    def running(self, *services: str) -> list[str]:
        return [service for service in services if service in self._addresses]

    def address(self, service: str) -> str:
        return self._addresses[service][0]

    def _store_urls(self) -> dict[str, Any]:
        brokers = self.running("rabbitmq", "rabbitmq-2", "rabbitmq-3")
        return {
            "databases": {name: self._database(name) for name in DATABASES},
            "broker_management": f"http://gozon:gozon@{self.address(brokers[0])}:15672",
        }

    def _database(self, name: str) -> str:
        hosts = ",".join(f"{self.address(s)}:5432" for s in self.running(f"{name}-db", f"{name}-db-2"))
        return f"postgresql://{name}:{name}@{hosts}/{name}?target_session_attrs=read-write"

    async def all_ready(self) -> bool:
        """Returns whether each service has its configured number of replicas and all of them are ready."""
        if any(len(self._addresses[service]) != count for service, count in self._replicas.items()):
            with suppress(RuntimeError):  # a container stopped between `ps` and `inspect`
                await self.refresh_addresses()
            return False
        replicas = [address for service in SERVICES for address in self._addresses[service]]
        return all(await asyncio.gather(*map(self._ready, replicas)))

    async def _ready(self, address: str) -> bool:
        limit = aiohttp.ClientTimeout(total=5)
        try:
            async with self.session.get(f"http://{address}:8000/health/ready", timeout=limit) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


@asynccontextmanager
async def running_cluster(port: int) -> AsyncGenerator[Cluster]:
    """Starts an empty cluster, and takes it down at the end, also after an error or a signal."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        cluster = Cluster(port, session)
        try:
            started = time.monotonic()
            await cluster.up()
            print(f"the cluster is up after {time.monotonic() - started:.0f} s", flush=True)
            yield cluster
        finally:
            await finish_even_if_cancelled(cluster.down())
