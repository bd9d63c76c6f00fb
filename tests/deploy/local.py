"""A shop of `deploy/local` on its own ports, which a test starts, interrupts and deletes."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support import ROOT

OFFSETS = (101, 201, 301, 369, 379, 401, 432, 501, 601, 672, 673, 674)
PATIENCE = 150


class LocalShop:
    """Runs the commands behind the `make` targets. `up` starts only PostgreSQL, RabbitMQ and Redis."""

    def __init__(self, directory: Path, repository: Path = ROOT) -> None:
        self.directory = directory
        self.base_port: int | None = free_base_port()
        self._repository = repository

    def run(self, *words: str, before: Sequence[str] = (), **environment: str) -> tuple[int, str]:
        """Returns the exit status and the output. `before` is a command line to which the command is appended."""
        with self.start(*words, before=before, **environment) as process:
            output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output

    def up(self, **environment: str) -> tuple[int, str]:
        return self.run("up", "--servers-only", **environment)

    def interrupted(self, created: str) -> tuple[int, str]:
        """Runs `up` and sends SIGINT, like Ctrl-C, to all its processes as soon as it writes the file `created`."""
        before = modified_at(self.directory / created)
        with self.start("up", "--servers-only") as process:
            while process.poll() is None and modified_at(self.directory / created) == before:
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output

    def start(self, *words: str, before: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
        python = self._repository / ".venv" / "bin" / "python"
        ports = ("--base-port", str(self.base_port)) if words[0] == "up" and self.base_port else ()
        return subprocess.Popen(
            [*before, python, "deploy/local/shop.py", *words, "--dir", self.directory, *ports],
            cwd=self._repository,
            env=os.environ | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=restore_interrupts,
        )


def restore_interrupts() -> None:
    """Undoes an inherited setting: a shell starts background programs with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def modified_at(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0


def free_base_port() -> int:
    for base_port in range(21_000, 28_000, 700):
        if all(_free(base_port + offset) for offset in OFFSETS):
            return base_port
    raise AssertionError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def running_in(directory: Path) -> list[str]:
    """Returns the names of the processes of the shop in `directory`."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"GOZON_RUN_DIR={directory}\0".encode() in (process / "environ").read_bytes()
            if marked or directory in (process / "cwd").readlink().parents:
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue
    return found
