"""A shop of its own, as `make up` starts it; its replicas start through `fragile` and reach servers by links."""

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

from loadtest.faults.contents import ROOT, Contents
from loadtest.faults.ending import undisturbed
from loadtest.faults.links import Link, LinkRoute
from loadtest.faults.place import NotHappened
from loadtest.faults.programs import ended

BIN = Path(sys.executable).parent
FIRST_LINK, EPMD = 700, 369
REPLICAS = 2
NEEDS = {
    "orders": ("postgres", "rabbitmq"),
    "payments": ("postgres", "rabbitmq"),
    "notifier": ("rabbitmq", "redis"),
    "gateway": ("orders-1", "orders-2", "payments-1", "payments-2"),
}


class ShopUnderFaults:
    """`at` says where everything is: the shop.json that `make up` leaves."""

    def __init__(self, directory: Path, base_port: int, at: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self.directory = directory
        self.url: str = at["entrance"]
        self.broker_node = f"gozon-{base_port}@localhost"
        self.epmd_port = base_port + EPMD
        self.session = session
        self.contents = Contents(at, session)
        self.at = at
        self.replicas = {r["name"]: str(r["url"]) for of in at["replicas"].values() for r in of}
        routes = [(service, server) for service, servers in NEEDS.items() for server in servers]
        self.links = {
            route.name: Link(route)
            for route in (
                LinkRoute(service, server, base_port + FIRST_LINK + n, self._port(server))
                for n, (service, server) in enumerate(routes)
            )
        }
        self.wiped_at: list[float] = []
        for folder in ("traps", "clocks"):
            shutil.rmtree(directory / folder, ignore_errors=True)
            (directory / folder).mkdir()

    def of(self, *services: str) -> list[str]:
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
        """0 while it does not run, which supervisorctl takes for a failure."""
        _, found = await _outcome(*self._supervisorctl, "pid", program)
        return int(found) if found.strip().isdigit() else 0

    async def signal(self, program: str, number: int) -> None:
        pid = await self.pid(program)
        if not pid:
            raise NotHappened(f"{program} does not run")
        os.kill(pid, number)

    async def stop(self, program: str) -> None:
        said = await self.supervisorctl("stop", program)
        if said.strip() != f"{program}: stopped":
            raise NotHappened(said)

    async def kill(self, program: str) -> None:
        await self.signal(program, signal.SIGKILL)

    async def run_from(self, tree: Path) -> None:
        """Starts every replica that does not yet run so, from the sources in `tree`."""
        self._rewrite_conf(tree)
        await self.supervisorctl("update")

    def _rewrite_conf(self, tree: Path) -> None:
        conf = configparser.RawConfigParser()
        conf.read(self.at["supervisor"])
        for name in self.replicas:
            self._reroute(conf[f"program:{name}"], name.rpartition("-")[0], tree)
        with Path(self.at["supervisor"]).open("w") as file:
            conf.write(file)

    def _reroute(self, program: configparser.SectionProxy, service: str, tree: Path) -> None:
        program["directory"] = str(tree)
        program["command"] = re.sub(r"-m (\w+)$", r"-m loadtest.faults.fragile \1", program["command"])
        for link in self.links.values():
            if link.route.service == service:
                real, ours = (f"127.0.0.1:{port}" for port in (link.route.real_port, link.route.port))
                program["environment"] = program["environment"].replace(real, ours)
        if "FAULTS_DIR" not in program["environment"]:
            program["environment"] += f',FAULTS_DIR="{self.directory}"'

    async def start_afresh(self, tree: Path) -> None:
        """From the sources in `tree`, and with nothing left of what was."""
        await self.supervisorctl("stop", *self.replicas)
        await self.contents.forget()
        await _output("redis-cli", "--no-auth-warning", "-u", self.at["redis"], "FLUSHALL")
        self.wiped_at.clear()
        await self.run_from(tree)
        await self.until_well()

    def set_clock(self, replica: str, hours: str) -> None:
        """For its next life: a right one when `hours` is empty."""
        clock = self.directory / "clocks" / replica
        if hours:
            clock.write_text(hours)
        else:
            clock.unlink()

    async def well(self) -> bool:
        """Whether every replica says that it is ready."""
        return all(await asyncio.gather(*map(self.ready, self.replicas)))

    async def ready(self, replica: str) -> bool:
        url, limit = f"{self.replicas[replica]}/health/ready", aiohttp.ClientTimeout(total=5)
        try:
            async with self.session.get(url, timeout=limit) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def until_well(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not await self.well():
            if time.monotonic() > deadline:
                raise SystemExit(f"the shop does not become ready; its logs are in {self.directory}/logs")
            await asyncio.sleep(0.3)


async def _output(*command: object) -> str:
    status, said = await _outcome(*command)
    if status:
        raise RuntimeError(f"failed: {' '.join(map(str, command))}\n{said}")
    return said


async def _outcome(*command: object) -> tuple[int, str]:
    done = await ended(*command, stdout=PIPE, stderr=STDOUT)
    return done.status, done.said


@asynccontextmanager
async def a_shop(
    directory: Path, base_port: int, entrance: int, tree: Path = ROOT
) -> AsyncGenerator[ShopUnderFaults]:
    """A fresh one, with nothing left running whatever happens."""
    directory = ROOT / directory
    makes = (sys.executable, ROOT / "deploy" / "local" / "shop.py")
    place = ("--dir", directory, "--base-port", base_port, "--entrance", entrance)
    size = ("--replicas", REPLICAS, "--backstage", "off")
    await _run(*makes, "clean", *place)
    try:
        await _run(*makes, "up", *place, *size)
        at = json.loads((directory / "shop.json").read_text())
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            shop = ShopUnderFaults(directory, base_port, at, session)
            try:
                for link in shop.links.values():
                    await link.open()
                await shop.run_from(tree)
                await shop.until_well()
                yield shop
            finally:
                for link in shop.links.values():
                    await link.close()
    finally:
        await undisturbed(_run(*makes, "down", *place))


async def _run(*command: object) -> None:
    if (await ended(*command)).status:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
