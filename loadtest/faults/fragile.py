"""`python -m loadtest.faults.fragile orders`: the service as it is, which can be ended at a named point.

A file `traps/<replica>` in FAULTS_DIR says where, and after how many calls. It is removed by the process that
ends there, so the next one, which the supervisor starts, is whole. A file `clocks/<replica>` holds the hours by
which this life's clock is wrong; libfaketime shifts it, below Python, for uuid7 and uvloop as well.
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
# What the process has written before it gets to a point may leave before it ends there.
FLUSH_SECONDS = 0.02


class Trap:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._calls = 0

    def sprung(self, point: str) -> bool:
        try:
            name, count = self._path.read_text().split()
        except (FileNotFoundError, ValueError):  # ValueError: it is being written
            return False
        self._calls += name == point
        return name == point and self._calls >= int(count)

    def end(self) -> None:
        self._path.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)


def guarded(name: str, point: Point, trap: Trap, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with the trap before or after it."""

    async def reach() -> None:
        if trap.sprung(name):
            await asyncio.sleep(FLUSH_SECONDS)
            trap.end()

    @wraps(function)
    async def waiting(*args: Any, **kwargs: Any) -> Any:
        if not point.after:
            await reach()
        result = await function(*args, **kwargs)
        if point.after:
            await reach()
        return result

    @wraps(function)
    def at_once(*args: Any, **kwargs: Any) -> Any:
        if not point.after and trap.sprung(name):
            trap.end()
        result = function(*args, **kwargs)
        if point.after and trap.sprung(name):
            trap.end()
        return result

    return waiting if inspect.iscoroutinefunction(function) else at_once


def lay(service: str, trap: Trap) -> None:
    for name, point in POINTS.items():
        if service in point.services:
            module, _, path = point.where.partition(":")
            owner: Any = importlib.import_module(module)
            *outer, attribute = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            setattr(owner, attribute, guarded(name, point, trap, getattr(owner, attribute)))


def shift_clock(clock: Path) -> None:
    """Begins anew under libfaketime, when this life is to have a wrong clock."""
    if clock.exists() and "FAKETIME" not in os.environ:
        faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": clock.read_text(), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | faked)


def main() -> None:
    service, replica, folder = sys.argv[1], os.environ["REPLICA"], Path(os.environ["FAULTS_DIR"])
    shift_clock(folder / "clocks" / replica)
    lay(service, Trap(folder / "traps" / replica))
    importlib.import_module(f"{service}.app").main()


if __name__ == "__main__":
    main()
