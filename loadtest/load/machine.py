"""What the programs on this machine take of it, from /proc."""

import math
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class ProcessorTime(msgspec.Struct, frozen=True):
    """By a program and all processes below it, those that have ended included: seconds of a core since its start.

    Memory is in MiB; what processes share is counted once (PSS). It and the open files cost time to find out.
    They are NaN without a thorough look, and where they could not be read.
    """

    cpu: float
    memory: float = math.nan
    files: float = math.nan


class Look(msgspec.Struct, frozen=True):
    """`busy` are seconds of all cores in which they did anything; `at` is a time of `time.perf_counter`."""

    at: float
    busy: float
    programs: dict[str, ProcessorTime]


class Machine(msgspec.Struct, frozen=True):
    model: str
    cores: int
    memory_gib: float
    system: str


def look(programs: Mapping[str, int], thorough: bool = False) -> Look:
    """`programs` are process ids by name. One that is gone has taken no time, and its memory cannot be read."""
    cpu, children = _processes()
    return Look(
        time.perf_counter(),
        _busy(),
        {name: _taken(_family(pid, children), cpu, thorough) for name, pid in programs.items()},
    )


def this_machine() -> Machine:
    lines = (PROC / "cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Machine(model, os.cpu_count() or 1, round(memory, 1), f"{platform.system()} {platform.release()}")


def this_python() -> dict[str, str]:
    """With its compiler and build, which count, too."""
    return {"python": " ".join(sys.version.split())}


def _processes() -> tuple[dict[int, float], dict[int, list[int]]]:
    """Seconds of each process with those of its children that have ended, and the children of each."""
    cpu: dict[int, float] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):
            # The name in brackets may hold anything.
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            pid = int(process.name)
            cpu[pid] = sum(map(int, fields[11:15])) / TICKS
            children[int(fields[1])].append(pid)
    return cpu, children


def _family(pid: int, children: Mapping[int, list[int]]) -> list[int]:
    return [pid, *(relative for child in children.get(pid, ()) for relative in _family(child, children))]


def _taken(pids: list[int], cpu: Mapping[int, float], thorough: bool) -> ProcessorTime:
    seconds = sum(cpu.get(pid, 0.0) for pid in pids)
    if not thorough or pids[0] not in cpu:
        return ProcessorTime(seconds)
    return ProcessorTime(seconds, sum(map(_memory, pids)), sum(map(_files, pids)))


def _memory(pid: int) -> float:
    return _if_there(pid, _pss)


def _files(pid: int) -> float:
    return _if_there(pid, lambda process: sum(1 for _ in (process / "fd").iterdir()))


def _pss(process: Path) -> float:
    lines = (process / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def _if_there(pid: int, read: Callable[[Path], float]) -> float:
    """0 of a process that has ended meanwhile, as those that serve one connection do."""
    try:
        return read(PROC / str(pid))
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    except OSError:
        return math.nan


def _busy() -> float:
    user, nice, system, _idle, _waiting, irq, soft, steal = map(
        int, (PROC / "stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + soft + steal) / TICKS
