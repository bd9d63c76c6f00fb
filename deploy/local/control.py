"""Controls the supervisord of a shop, and stops processes that a killed one has left."""

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from layout import Shop, socket_path

BIN = Path(sys.executable).parent
# This environment variable of every process names the data folder of its shop.
MARK = "GOZON_RUN_DIR"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002
        return _Connection(self._path)


class Supervisor:
    def __init__(self, directory: Path) -> None:
        transport = _Transport(socket_path(directory))
        self._rpc: Any = xmlrpc.client.ServerProxy("http://localhost", transport).supervisor

    def runs(self) -> bool:
        """Returns whether supervisord runs. Waits while it shuts down, for example after an interrupted `down`."""
        while True:
            try:
                self._rpc.getPID()
            except (OSError, http.client.HTTPException):
                return False
            except xmlrpc.client.Fault:  # SHUTDOWN_STATE
                time.sleep(0.2)
            else:
                return True

    def start(self, shop: Shop) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PG", "RABBITMQ_", "ERL_", "MAKE", "PYTEST_"))
        }
        command = [str(BIN / "supervisord"), "-c", str(shop.supervisor_conf)]
        marked = environment | {MARK: str(shop.dir)}
        # A new session, so that Ctrl-C in the terminal does not reach supervisord.
        subprocess.run(command, check=True, env=marked, stdin=subprocess.DEVNULL, start_new_session=True)

    def states(self) -> dict[str, str]:
        return {program["name"]: program["statename"] for program in self._rpc.getAllProcessInfo()}

    def reread(self) -> tuple[list[str], list[str], list[str]]:
        """Reads supervisord.conf again. Returns the names of the new, changed and removed programs."""
        [[added, changed, removed]] = self._rpc.reloadConfig()
        return added, changed, removed

    def add(self, name: str) -> None:
        self._rpc.addProcessGroup(name)

    def remove(self, names: Iterable[str]) -> None:
        names = list(names)
        self.stop(names)
        for name in names:
            self._rpc.removeProcessGroup(name)

    def signal(self, name: str, number: int) -> None:
        self._rpc.signalProcess(name, str(number))

    def stop(self, names: Iterable[str]) -> None:
        """Stops the programs in parallel. supervisord itself would stop one after another."""
        names = [name for name in names if self.states()[name] in ("STARTING", "RUNNING", "BACKOFF")]
        for name in names:
            self._rpc.stopProcess(name, False)
        while any(self.states()[name] == "STOPPING" for name in names):
            time.sleep(0.1)

    def shutdown(self) -> None:
        pid = self._rpc.getPID()
        self._rpc.shutdown()
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.1)


def stop_leftovers(directory: Path) -> None:
    """Stops processes of this shop that a killed supervisord has left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = _processes_of(directory)
        if left:
            print(f"stopping {len(left)} processes of an earlier run", flush=True)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + 15
        while left and _processes_of(directory) and time.monotonic() < deadline:
            time.sleep(0.2)


def _processes_of(directory: Path) -> list[int]:
    mark = f"{MARK}={directory}\0".encode()
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes() or _server_in(directory, process):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def _server_in(directory: Path, process: Path) -> bool:
    """Returns whether the process is a server with its data in `directory`.

    These servers overwrite their environment with a process title, but run in their data folder.
    """
    name = (process / "comm").read_text().strip()
    return name in ("redis-server", "nginx", "postgres") and directory in (process / "cwd").readlink().parents


def open_files_limit() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
