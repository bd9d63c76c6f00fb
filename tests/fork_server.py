"""Starts Python programs as forks of one process that has imported their libraries.

A replica spends most of its start on importing libraries, and the tests start some 300 replicas. A fork is a normal
process: it has its own id and memory, and it can be killed. It imports the modules of the project itself.
"""

import asyncio
import importlib
import json
import os
import runpy
import selectors
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent
# Modules that every service imports. Other modules of the project register metrics that not every service has.
PRELOADED = (
    "shopkit.web.service",
    "shopkit.db.migrations",
    "aio_pika",
    "aiohttp",
    "redis.asyncio",
    "redis.exceptions",
    "uvicorn.lifespan.on",
    "uvicorn.logging",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvloop",
    "uuid_utils.compat",
    "websockets.protocol",
)


class Fork:
    """A forked process, with the interface of asyncio.subprocess.Process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.ended = asyncio.Event()

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        await self.ended.wait()
        assert self.returncode is not None
        return self.returncode


class ForkServer:
    """The client of the fork server. Starts the server on demand; it exits with the process of the tests."""

    def __init__(self) -> None:
        self._forks: dict[int, Fork] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._started: asyncio.Queue[Fork] = asyncio.Queue()
        self._request_lock = asyncio.Lock()

    async def fork(
        self, module: str, *arguments: str, environment: Mapping[str, str], stdout: Path, stderr: Path
    ) -> Fork:
        """Runs `python -m module arguments`. Output is appended to the files."""
        async with self._request_lock:
            if self._process is None:
                self._process = await self._start()
            request = {
                "module": module,
                "arguments": arguments,
                "environment": dict(environment),
                "stdout": str(stdout),
                "stderr": str(stderr),
            }
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            return await self._started.get()

    async def run(self, module: str, *arguments: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
        """Runs `python -m module arguments` to its end. Returns its exit status, output and error output."""
        with TemporaryDirectory() as folder:
            output, errors = Path(folder) / "output", Path(folder) / "errors"
            fork = await self.fork(module, *arguments, environment=environment, stdout=output, stderr=errors)
            try:
                status = await fork.wait()
            except asyncio.CancelledError:
                fork.kill()
                raise
            return status, output.read_text(), errors.read_text()

    async def _start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, cwd=ROOT, stdin=pipe, stdout=pipe
        )
        assert process.stdout is not None
        self._reading = asyncio.create_task(self._read(process.stdout))
        return process

    async def _read(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            pid, status = json.loads(line)
            if status is None:
                self._forks[pid] = Fork(pid)
                self._started.put_nowait(self._forks[pid])
            else:
                fork = self._forks.pop(pid)
                fork.returncode = status
                fork.ended.set()

    async def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()
            await self._reading
            self._process = None


FORK_SERVER = ForkServer()


def serve() -> dict[str, Any] | None:
    """Forks once per request. Returns the request in each child, and None in the server when its input ends."""
    buffer = b""
    with selectors.DefaultSelector() as events:
        events.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.data is not None:
                    events.unregister(key.fd)
                    os.close(key.fd)
                    _, status = os.waitpid(key.data, 0)
                    _report(key.data, os.waitstatus_to_exitcode(status))
                    continue
                received = os.read(0, 65536)
                if not received:
                    return None
                *requests, buffer = (buffer + received).split(b"\n")
                for request in requests:
                    pid = os.fork()
                    if pid == 0:
                        return json.loads(request)
                    events.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                    _report(pid, None)


def _report(pid: int, status: int | None) -> None:
    os.write(1, json.dumps([pid, status]).encode() + b"\n")


def become(request: dict[str, Any]) -> None:
    """Runs the module of the request in this process, as `python -m` does."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    opened = os.open(os.devnull, os.O_RDONLY), os.open(request["stdout"], flags), os.open(request["stderr"], flags)
    for target, source in enumerate(opened):
        os.dup2(source, target)
    os.closerange(3, 256)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # after Ctrl-C the tests exit, and then this process does
    request = serve()
    if request is not None:
        become(request)


if __name__ == "__main__":
    main()
