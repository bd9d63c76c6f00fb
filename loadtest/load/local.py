"""A shop that runs on this machine: where its parts are, what they are, and what its books say."""

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
from loadtest.load.parameters import Failed

PACKAGES = ("litestar", "uvicorn", "uvloop", "msgspec", "sqlalchemy", "asyncpg", "aio-pika", "hiredis")
GRACE_SECONDS, PAUSE_SECONDS = "1", 1.0
SUPERVISORCTL = Path(sys.executable).with_name("supervisorctl")


class LocalShop:
    def __init__(self, folder: str) -> None:
        """Raises Failed when no shop runs in `folder`."""
        self.folder = folder
        path = Path(folder) / "shop.json"
        self._is: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        if not self._is or not _supervisor_runs(self._is["supervisor"]):
            raise Failed(f"no shop runs in {folder}; make up starts one, URL=... names another")
        self.url: str = self._is["entrance"]

    @property
    def addresses(self) -> dict[str, str]:
        """Of each replica, by its name."""
        return {one["name"]: one["url"] for replicas in self._is["replicas"].values() for one in replicas}

    @property
    def redis(self) -> str:
        return self._is["redis"]

    @property
    def broker_management(self) -> str:
        return self._is["broker_management"]

    @property
    def databases(self) -> dict[str, str]:
        return {name: self._is["databases"][name] for name in ("orders", "payments")}

    @property
    def database_server(self) -> str:
        return self._is["databases"]["admin"]

    @property
    def replicas(self) -> dict[str, int]:
        return {service: len(replicas) for service, replicas in self._is["replicas"].items()}

    async def programs(self) -> dict[str, int]:
        """Process ids by name."""
        command = (str(SUPERVISORCTL), "-c", self._is["supervisor"], "status")
        _, output = await _run(*command)
        return {name: int(pid) for name, pid in re.findall(r"^(\S+)\s+RUNNING\s+pid (\d+)", output, re.MULTILINE)}

    async def kill(self, program: str) -> None:
        await _run(str(SUPERVISORCTL), "-c", self._is["supervisor"], "signal", "KILL", program)

    async def audit(self, patience: float) -> CheckResult:
        """Again and again until there are no offenders, for so many seconds.

        The auditor's own grace is longer than most loads are, and would spare all that they have left undone.
        """
        give_up = time.monotonic() + patience
        while (verdict := await self._audit()).offenders and time.monotonic() + PAUSE_SECONDS < give_up:
            await asyncio.sleep(PAUSE_SECONDS)
        return verdict

    async def _audit(self) -> CheckResult:
        urls = {f"{name.upper()}_DATABASE_URL": url for name, url in self.databases.items()}
        status, output = await _run(sys.executable, "-m", "auditor", "--json", "--grace", GRACE_SECONDS, **urls)
        verdict = CheckResult("audit", f"Every invariant of `make audit` holds, with a grace of {GRACE_SECONDS} s.")
        if status not in (0, 1):
            return verdict.look(1, [{"audit": output}])
        for found in json.loads(output)["invariants"]:
            rows: list[Row] = [{"invariant": found["name"], **row} for row in found["rows"]]
            verdict.add(
                CheckResult(found["name"], found["statement"], found["looked_at"], found["offenders"], rows)
            )
        return verdict

    async def versions(self) -> dict[str, str]:
        programs = await self.programs()
        asked = {"postgres": "--version", "redis": "--version", "nginx": "-v"}
        found = {name: await _run(f"/proc/{programs[name]}/exe", option) for name, option in asked.items()}
        servers = {name: _version(output) for name, (_, output) in found.items()}
        return servers | await self._told_versions() | {name: version(name) for name in PACKAGES}

    async def _told_versions(self) -> dict[str, str]:
        """Of RabbitMQ, and of what is running of ours."""
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{self.broker_management}/api/overview") as answer:
                rabbitmq = (await answer.json())["rabbitmq_version"]
            async with session.get(f"{self._is['replicas']['orders'][0]['url']}/metrics") as answer:
                revision = re.search(r'revision="([^"]*)"', await answer.text())
        return {"rabbitmq": rabbitmq, "gozon": revision[1] if revision else "unknown"}


def _supervisor_runs(conf: str) -> bool:
    """`make down` leaves shop.json and the configuration, so only a connection shows whether a shop runs."""
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
