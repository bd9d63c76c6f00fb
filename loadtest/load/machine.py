"""Processor time, memory and open files of programs on this machine, read from /proc."""

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


class ProgramUsage(msgspec.Struct, frozen=True):
    """The usage of a program and all its descendant processes, including ended processes.

    `cpu` is seconds of a core since the start. `memory` is in MiB, with shared memory counted once (PSS).
    `files` is the number of open files. Reading memory and files takes time. They are NaN unless the sample is
    thorough, and where they could not be read.
    """

    cpu: float
    memory: float = math.nan
    files: float = math.nan


class Sample(msgspec.Struct, frozen=True):
    """The usage of several programs at one time.

    `at` is a time of `time.perf_counter`. `busy` is the time since boot in which cores were not idle, in seconds
    summed over all cores.
    """

    at: float
    busy: float
    programs: dict[str, ProgramUsage]


class Machine(msgspec.Struct, frozen=True):
    model: str
    cores: int
    memory_gib: float
    system: str


def sample(programs: Mapping[str, int], thorough: bool = False) -> Sample:
    """Measures `programs`, which are process ids by name.

    For a program that has ended, `cpu` is 0 and memory and files are NaN.
    """
    cpu, children = _processes()
    return Sample(
        time.perf_counter(),
        _busy(),
        {name: _usage(_process_tree(pid, children), cpu, thorough) for name, pid in programs.items()},
    )


def this_machine() -> Machine:
    lines = (PROC / "cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Machine(model, os.cpu_count() or 1, round(memory, 1), f"{platform.system()} {platform.release()}")


def this_python() -> dict[str, str]:
    """Returns the version with build date and compiler, because the build affects the speed as well."""
    return {"python": " ".join(sys.version.split())}


def _processes() -> tuple[dict[int, float], dict[int, list[int]]]:
    """Returns the processor seconds of each process, including its ended children, and the children of each."""
    cpu: dict[int, float] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):
            # The second field, the program's name in brackets, can contain spaces and brackets.
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            pid = int(process.name)
            cpu[pid] = sum(map(int, fields[11:15])) / TICKS
            children[int(fields[1])].append(pid)
    return cpu, children


def _process_tree(pid: int, children: Mapping[int, list[int]]) -> list[int]:
    return [pid, *(descendant for child in children.get(pid, ()) for descendant in _process_tree(child, children))]


def _usage(pids: list[int], cpu: Mapping[int, float], thorough: bool) -> ProgramUsage:
    seconds = sum(cpu.get(pid, 0.0) for pid in pids)
    if not thorough or pids[0] not in cpu:
        return ProgramUsage(seconds)
    return ProgramUsage(seconds, sum(map(_memory, pids)), sum(map(_files, pids)))


def _memory(pid: int) -> float:
    return _read(pid, _pss)


def _files(pid: int) -> float:
    return _read(pid, lambda process: sum(1 for _ in (process / "fd").iterdir()))


def _pss(process: Path) -> float:
    lines = (process / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def _read(pid: int, read: Callable[[Path], float]) -> float:
    """Returns 0 for a process that has ended in the meantime (PostgreSQL ends one with each connection).

    Returns NaN if the value cannot be read.
    """
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
