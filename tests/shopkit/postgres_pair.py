"""A PostgreSQL primary with a synchronous standby, on ports of their own."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import asyncpg

from tests.servers import succeeds
from tests.support import free_port

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
synchronous_standby_names = '*'
"""


class Node:
    def __init__(self, data: Path) -> None:
        self.port = free_port()
        self.data = data
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"postgresql://gozon@127.0.0.1:{self.port}/postgres"

    async def start(self) -> None:
        command = (_program("postgres"), "-D", self.data, "-p", self.port)
        self._process = await _process(*command)

        async def answers() -> None:
            await self.sql("SELECT 1")

        await succeeds(answers)

    async def kill(self) -> None:
        """Stops the server without a shutdown, as the crash of a machine does.

        SIGQUIT also ends its child processes.
        """
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGQUIT)
            await self._process.wait()

    async def sql(self, statement: str) -> Any:
        connection = cast("Any", await asyncpg.connect(self.url))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def make_read_only(self) -> None:
        """Rejects writes, as before a planned failover. Open connections stay open."""
        await self._set("default_transaction_read_only", "on")

    async def promote(self) -> None:
        await self._set("synchronous_standby_names", "''")
        await self.sql("SELECT pg_promote()")

    async def _set(self, name: str, value: str) -> None:
        await self.sql(f"ALTER SYSTEM SET {name} = {value}")
        await self.sql("SELECT pg_reload_conf()")


@asynccontextmanager
async def postgres_pair() -> AsyncGenerator[tuple[Node, Node]]:
    # Not in the folder of pytest: the user that PostgreSQL runs as cannot access it.
    home = Path(tempfile.mkdtemp(prefix="gozon-pair-"))
    if os.getuid() == 0:
        shutil.chown(home, "postgres", "postgres")
    primary, standby = Node(home / "primary"), Node(home / "standby")
    try:
        await _run(_program("initdb"), "-D", primary.data, "-U", "gozon", "--auth=trust", "--no-sync")
        with (primary.data / "postgresql.conf").open("a") as config:
            config.write(CONFIG)
        await primary.start()
        source = f"host=127.0.0.1 port={primary.port} user=gozon"
        await _run(_program("pg_basebackup"), "-D", standby.data, "-d", source, "-R", "-c", "fast")
        await standby.start()
        yield primary, standby
    finally:
        await standby.kill()
        await primary.kill()
        shutil.rmtree(home)


def _program(name: str) -> str:
    return str(BIN / name) if BIN else name


async def _process(*command: object) -> asyncio.subprocess.Process:
    user = "postgres" if os.getuid() == 0 else None
    return await asyncio.create_subprocess_exec(
        *map(str, command),
        user=user,
        cwd="/",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def _run(*command: object) -> None:
    process = await _process(*command)
    assert await process.wait() == 0, command
