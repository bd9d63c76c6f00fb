"""Starts an unchanged service that kills itself at a named point or runs with a wrong clock.

Usage: `python -m loadtest.faults.service_under_faults orders`.

A file `traps/<replica>` in FAULTS_DIR names the point and the number of calls after which the process is killed.
The process deletes the file before it dies, so the process that the supervisor starts next has no trap.

A file `clocks/<replica>` holds the hours by which the clock of the process is wrong. libfaketime shifts the clock
below Python, so uuid7 and uvloop see the wrong time too.
"""

import asyncio
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from loadtest.faults.points import POINTS, Point

FAKETIME = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")
# Lets the event loop send bytes that were written before the point.
FLUSH_SECONDS = 0.02


class Trap:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._calls = 0

    def springs_at(self, point: str) -> bool:
        """Counts a call of `point`. Returns whether the process must die now."""
        try:
            name, count = self._path.read_text().split()
        except (FileNotFoundError, ValueError):  # ValueError: the file is still being written
            return False
        self._calls += name == point
        return name == point and self._calls >= int(count)

    def kill_process(self) -> None:
        self._path.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)


def with_trap(name: str, point: Point, trap: Trap, function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function` with the trap before or after it."""

    async def check_trap() -> None:
        if trap.springs_at(name):
            await asyncio.sleep(FLUSH_SECONDS)
            trap.kill_process()

    @wraps(function)
    async def async_function(*args: Any, **kwargs: Any) -> Any:
        if not point.after:
            await check_trap()
        result = await function(*args, **kwargs)
        if point.after:
            await check_trap()
        return result

    @wraps(function)
    def sync_function(*args: Any, **kwargs: Any) -> Any:
        if not point.after and trap.springs_at(name):
            trap.kill_process()
        result = function(*args, **kwargs)
        if point.after and trap.springs_at(name):
            trap.kill_process()
        return result

    return async_function if inspect.iscoroutinefunction(function) else sync_function


def install_traps(service: str, trap: Trap) -> None:
    for name, point in POINTS.items():
        if service in point.services:
            module, _, path = point.where.partition(":")
            owner: Any = importlib.import_module(module)
            *outer, attribute = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            setattr(owner, attribute, with_trap(name, point, trap, getattr(owner, attribute)))


def shift_clock(clock: Path) -> None:
    """Restarts the process under libfaketime if it must have a wrong clock."""
    if clock.exists() and "FAKETIME" not in os.environ:
        faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": clock.read_text(), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | faked)


def main() -> None:
    service, replica, folder = sys.argv[1], os.environ["REPLICA"], Path(os.environ["FAULTS_DIR"])
    shift_clock(folder / "clocks" / replica)
    install_traps(service, Trap(folder / "traps" / replica))
    importlib.import_module(f"{service}.app").main()


if __name__ == "__main__":
    main()
