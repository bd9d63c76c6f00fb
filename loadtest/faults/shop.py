"""Starts a shop like `make up`, with its own data.

Its replicas run through `service_under_faults` and reach the servers through links.
"""

import asyncio
import configparser
import json
import os
import re
import shutil
import signal
import sys
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from loadtest.faults.cancellation import finish_even_if_cancelled
from loadtest.faults.links import Link, LinkRoute
from loadtest.faults.programs import run_program
from loadtest.faults.stores import ROOT, ServersUnderFaults
from loadtest.faults.target import FaultNotInjected

BIN = Path(sys.executable).parent
FIRST_LINK_OFFSET, EPMD_OFFSET = 700, 369
REPLICAS = 2
DEPENDENCIES = {
    "orders": ("postgres", "rabbitmq"),
    "payments": ("postgres", "rabbitmq"),
    "notifier": ("rabbitmq", "redis"),
    "gateway": ("orders-1", "orders-2", "payments-1", "payments-2"),
}


class ShopUnderFaults:
    """A running shop. `at` is the shop.json that `make up` writes."""

    def __init__(self, directory: Path, base_port: int, at: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self.directory = directory
        self.url: str = at["entrance"]
        self.broker_node = f"gozon-{base_port}@localhost"
        self.epmd_port = base_port + EPMD_OFFSET
        self.session = session
        self.stores = ServersUnderFaults(at, session)
        self.at = at
        self.replicas = {r["name"]: str(r["url"]) for of in at["replicas"].values() for r in of}
        routes = [(service, server) for service, servers in DEPENDENCIES.items() for server in servers]
        self.links = {
            route.name: Link(route)
            for route in (
                LinkRoute(service, server, base_port + FIRST_LINK_OFFSET + n, self._port(server))
                for n, (service, server) in enumerate(routes)
            )
        }
        self.wiped_at: list[float] = []
        for folder in ("traps", "clocks"):
            shutil.rmtree(directory / folder, ignore_errors=True)
            (directory / folder).mkdir()

    def replicas_of(self, *services: str) -> list[str]:
        return [name for name in self.replicas if name.rpartition("-")[0] in services]

    def _port(self, server: str) -> int:
        urls = {"postgres": self.at["databases"]["admin"], "rabbitmq": self.at["broker"], "redis": self.at["redis"]}
        port = urlsplit(str(urls.get(server) or self.replicas[server])).port
        assert port is not None
        return port

    async def supervisorctl(self, *words: str) -> str:
        return await _output(*self._supervisorctl, *words)

    @property
    def _supervisorctl(self) -> tuple[object, ...]:
        return BIN / "supervisorctl", "-c", self.at["supervisor"]

    async def pid(self, program: str) -> int:
        """Returns 0 if the program does not run. supervisorctl exits with an error then."""
        _, found = await _outcome(*self._supervisorctl, "pid", program)
        return int(found) if found.strip().isdigit() else 0

    async def signal(self, program: str, number: int) -> None:
        pid = await self.pid(program)
        if not pid:
            raise FaultNotInjected(f"{program} is not running")
        os.kill(pid, number)

    async def stop(self, program: str) -> None:
        output = await self.supervisorctl("stop", program)
        if output.strip() != f"{program}: stopped":
            raise FaultNotInjected(output)

    async def kill(self, program: str) -> None:
        await self.signal(program, signal.SIGKILL)

    async def run_from(self, tree: Path) -> None:
        """Restarts every replica from the sources in `tree`, through the links."""
        self._rewrite_supervisor_conf(tree)
        await self.supervisorctl("update")

    def _rewrite_supervisor_conf(self, tree: Path) -> None:
        conf = configparser.RawConfigParser()
        conf.read(self.at["supervisor"])
        for name in self.replicas:
            self._reroute(conf[f"program:{name}"], name.rpartition("-")[0], tree)
        with Path(self.at["supervisor"]).open("w") as file:
            conf.write(file)

    def _reroute(self, program: configparser.SectionProxy, service: str, tree: Path) -> None:
        program["directory"] = str(tree)
        program["command"] = re.sub(r"-m (\w+)$", r"-m loadtest.faults.service_under_faults \1", program["command"])
        for link in self.links.values():
            if link.route.service == service:
                server, proxy = (f"127.0.0.1:{port}" for port in (link.route.real_port, link.route.port))
                program["environment"] = program["environment"].replace(server, proxy)
        if "FAULTS_DIR" not in program["environment"]:
            program["environment"] += f',FAULTS_DIR="{self.directory}"'

    async def restart_empty(self, tree: Path) -> None:
        """Deletes all data and restarts the replicas from the sources in `tree`."""
        await self.supervisorctl("stop", *self.replicas)
        await self.stores.delete_all()
        await _output("redis-cli", "--no-auth-warning", "-u", self.at["redis"], "FLUSHALL")
        self.wiped_at.clear()
        await self.run_from(tree)
        await self.wait_until_ready()

    def set_clock(self, replica: str, hours: str) -> None:
        """Sets the clock of the next process of this replica. An empty `hours` sets the right time."""
        clock = self.directory / "clocks" / replica
        if hours:
            clock.write_text(hours)
        else:
            clock.unlink()

    async def all_ready(self) -> bool:
        return all(await asyncio.gather(*map(self.ready, self.replicas)))

    async def ready(self, replica: str) -> bool:
        url, limit = f"{self.replicas[replica]}/health/ready", aiohttp.ClientTimeout(total=5)
        try:
            async with self.session.get(url, timeout=limit) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def wait_until_ready(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not await self.all_ready():
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"the shop is not ready after {seconds:.0f} s; its logs are in {self.directory}/logs"
                )
            await asyncio.sleep(0.3)


async def _output(*command: object) -> str:
    status, output = await _outcome(*command)
    if status:
        raise RuntimeError(f"failed: {' '.join(map(str, command))}\n{output}")
    return output


async def _outcome(*command: object) -> tuple[int, str]:
    result = await run_program(*command, stdout=PIPE, stderr=STDOUT)
    return result.status, result.output


@asynccontextmanager
async def running_shop(
    directory: Path, base_port: int, entrance: int, tree: Path = ROOT
) -> AsyncGenerator[ShopUnderFaults]:
    """Starts an empty shop, and takes it down at the end, also after an error or a signal."""
    directory = ROOT / directory
    shop_command = (sys.executable, ROOT / "deploy" / "local" / "shop.py")
    location = ("--dir", directory, "--base-port", base_port, "--entrance", entrance)
    size = ("--replicas", REPLICAS, "--backstage", "off")
    await _run(*shop_command, "clean", *location)
    try:
        await _run(*shop_command, "up", *location, *size)
        at = json.loads((directory / "shop.json").read_text())
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            shop = ShopUnderFaults(directory, base_port, at, session)
            try:
                for link in shop.links.values():
                    await link.open()
                await shop.run_from(tree)
                await shop.wait_until_ready()
                yield shop
            finally:
                for link in shop.links.values():
                    await link.close()
    finally:
        await finish_even_if_cancelled(_run(*shop_command, "down", *location))


async def _run(*command: object) -> None:
    if (await run_program(*command)).status:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
