"""Checks before `make up` does anything: ports, disk space and the number of replicas."""

import os
import shutil
from pathlib import Path

from free_ports import is_free
from place import DISK_FREE_LIMIT_MB, HIGHEST_BASE_PORT, PORTS, Shop

# A new shop takes 100 MB. RabbitMQ's log grows to 256 MB, and PostgreSQL's to 2 GB under load.
ROOM_MB = 1000


def port(name: str, word: str | None) -> int | None:
    """The port that an option or an environment variable names. Raises SystemExit if there is no such port."""
    if not word:
        return None
    variable, _ = PORTS[name]
    lowest, highest = (1024, HIGHEST_BASE_PORT) if name == "base_port" else (1, 65535)
    if word.isdecimal() and lowest <= int(word) <= highest:
        return int(word)
    why = ": the kernel gives the ports above to outgoing connections" if name == "base_port" else ""
    raise SystemExit(f"{variable} is {word!r} and must be a number from {lowest} to {highest}{why}")


def refuse_busy(ports: dict[str, int]) -> None:
    busy = [f"{port} ({name})" for name, port in ports.items() if not is_free(port)]
    if busy:
        raise SystemExit(
            f"in use by another program: port {', '.join(busy)}\n"
            "choose other ports, for example: GOZON_PORT=8081 GOZON_BASE_PORT=19000 make up"
        )


def refuse_full(directory: Path) -> None:
    """RabbitMQ takes no messages while less than its limit is free: the shop would look healthy and do nothing."""
    free, needed = shutil.disk_usage(directory).free // 10**6, DISK_FREE_LIMIT_MB + ROOM_MB
    if free < needed:
        raise SystemExit(
            f"{free} MB are free where {directory} lies, and the shop needs {needed} MB: "
            f"{ROOM_MB} MB for its data, and {DISK_FREE_LIMIT_MB} MB must stay free or RabbitMQ takes no messages"
        )


def warn_of_many(shop: Shop) -> None:
    cores = os.cpu_count() or 1
    sensible = 2 * cores + 1
    if not shop.servers_only and max(shop.replicas.values()) > sensible:
        count = len(shop.all_replicas())
        print(
            f"warning: {count} processes on {cores} cores; up to {sensible} of a service are sensible", flush=True
        )
