"""Checks ports, disk space and the number of replicas before `make up` starts anything."""

import os
import shutil
from pathlib import Path

from free_ports import is_free
from layout import DISK_FREE_LIMIT_MB, HIGHEST_BASE_PORT, PORTS, Shop

# A new shop needs 100 MB. RabbitMQ's write-ahead log grows to 256 MB, and PostgreSQL's to 2 GB under load.
DATA_MB = 1000


def port(name: str, word: str | None) -> int | None:
    """Returns the port of an option or environment variable. Raises SystemExit if it is no valid port."""
    if not word:
        return None
    variable, _ = PORTS[name]
    lowest, highest = (1024, HIGHEST_BASE_PORT) if name == "base_port" else (1, 65535)
    if word.isdecimal() and lowest <= int(word) <= highest:
        return int(word)
    why = ": Linux uses the ports above for outgoing connections" if name == "base_port" else ""
    raise SystemExit(f"{variable} is {word!r}, but must be a number from {lowest} to {highest}{why}")


def require_free_ports(ports: dict[str, int]) -> None:
    used = [f"{port} ({name})" for name, port in ports.items() if not is_free(port)]
    if used:
        raise SystemExit(
            f"in use by another program: port {', '.join(used)}\n"
            "choose other ports, for example: GOZON_PORT=8081 GOZON_BASE_PORT=19000 make up"
        )


def require_free_disk(directory: Path) -> None:
    """Raises SystemExit if the disk is too full.

    Below its limit RabbitMQ accepts no messages: the shop would look healthy and process nothing.
    """
    free, needed = shutil.disk_usage(directory).free // 10**6, DISK_FREE_LIMIT_MB + DATA_MB
    if free < needed:
        raise SystemExit(
            f"{free} MB are free on the disk of {directory}, but the shop needs {needed} MB: "
            f"{DATA_MB} MB for its data, and {DISK_FREE_LIMIT_MB} MB that must stay free for RabbitMQ"
        )


def warn_of_too_many_replicas(shop: Shop) -> None:
    cores = os.cpu_count() or 1
    sensible = 2 * cores + 1
    if not shop.servers_only and max(shop.replicas.values()) > sensible:
        count = len(shop.all_replicas())
        print(
            f"warning: {count} processes on {cores} cores; use at most {sensible} replicas of a service", flush=True
        )
