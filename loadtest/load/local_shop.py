"""A shop that runs on this machine: the addresses, processes and versions of its parts, and its audit."""

import asyncio
import configparser
import json
import os
import re
import socket
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp

from loadtest.load.checks import CheckResult, Row
from loadtest.load.parameters import LoadError

PACKAGES = ("litestar", "uvicorn", "uvloop", "msgspec", "sqlalchemy", "asyncpg", "aio-pika", "hiredis")
GRACE_SECONDS, PAUSE_SECONDS = "1", 1.0
SUPERVISORCTL = Path(sys.executable).with_name("supervisorctl")


class LocalShop:
    def __init__(self, folder: str) -> None:
        """Raises LoadError if no shop runs in `folder`."""
        self.folder = folder
        path = Path(folder) / "shop.json"
        self._description: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        if not self._description or not _supervisor_runs(self._description["supervisor"]):
            raise LoadError(f"no shop runs in {folder}: start one with make up, or name another shop with URL=")
        self.url: str = self._description["entrance"]

    @property
    def replica_urls(self) -> dict[str, str]:
        """The URL of each replica by its name."""
        return {one["name"]: one["url"] for replicas in self._description["replicas"].values() for one in replicas}

    @property
    def redis(self) -> str:
        return self._description["redis"]

    @property
    def broker_management(self) -> str:
        return self._description["broker_management"]

    @property
    def databases(self) -> dict[str, str]:
        return {name: self._description["databases"][name] for name in ("orders", "payments")}

    @property
    def database_server(self) -> str:
        return self._description["databases"]["admin"]

    @property
    def replicas(self) -> dict[str, int]:
        return {service: len(replicas) for service, replicas in self._description["replicas"].items()}

    async def programs(self) -> dict[str, int]:
        """Returns the process ids of all running programs by name."""
        command = (str(SUPERVISORCTL), "-c", self._description["supervisor"], "status")
        _, output = await _run(*command)
        return {name: int(pid) for name, pid in re.findall(r"^(\S+)\s+RUNNING\s+pid (\d+)", output, re.MULTILINE)}

    async def kill(self, program: str) -> None:
        await _run(str(SUPERVISORCTL), "-c", self._description["supervisor"], "signal", "KILL", program)

    async def audit(self, patience: float) -> CheckResult:
        """Repeats the audit until it finds no offenders, for at most `patience` seconds.

        The auditor's default grace is longer than most loads. With it, the audit would overlook every order that a
        load left unfinished, so the grace here is GRACE_SECONDS.
        """
        give_up = time.monotonic() + patience
        while (verdict := await self._audit()).offenders and time.monotonic() + PAUSE_SECONDS < give_up:
            await asyncio.sleep(PAUSE_SECONDS)
        return verdict

    async def _audit(self) -> CheckResult:
        urls = {f"{name.upper()}_DATABASE_URL": url for name, url in self.databases.items()}
        status, output = await _run(sys.executable, "-m", "auditor", "--json", "--grace", GRACE_SECONDS, **urls)
        verdict = CheckResult("audit", f"Every invariant of `make audit` holds with a grace of {GRACE_SECONDS} s.")
        if status not in (0, 1):
            return verdict.record(1, [{"audit": output}])
        for found in json.loads(output)["invariants"]:
            rows: list[Row] = [{"invariant": found["name"], **row} for row in found["rows"]]
            verdict.add(
                CheckResult(found["name"], found["statement"], found["looked_at"], found["offenders"], rows)
            )
        return verdict

    async def versions(self) -> dict[str, str]:
        programs = await self.programs()
        options = {"postgres": "--version", "redis": "--version", "nginx": "-v"}
        found = {name: await _run(f"/proc/{programs[name]}/exe", option) for name, option in options.items()}
        servers = {name: _version(output) for name, (_, output) in found.items()}
        return servers | await self._versions_over_http() | {name: version(name) for name in PACKAGES}

    async def _versions_over_http(self) -> dict[str, str]:
        """Returns the version of RabbitMQ and the revision of the running services."""
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{self.broker_management}/api/overview") as response:
                rabbitmq = (await response.json())["rabbitmq_version"]
            async with session.get(f"{self._description['replicas']['orders'][0]['url']}/metrics") as response:
                revision = re.search(r'revision="([^"]*)"', await response.text())
        return {"rabbitmq": rabbitmq, "gozon": revision[1] if revision else "unknown"}


def _supervisor_runs(conf: str) -> bool:
    """Returns whether supervisord accepts connections. `make down` keeps shop.json, so the file proves nothing."""
    settings = configparser.RawConfigParser()
    settings.read(conf)
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(settings["unix_http_server"]["file"]) == 0


def _version(text: str) -> str:
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else "unknown"


async def _run(*command: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()
