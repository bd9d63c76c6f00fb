"""Addresses that name several servers: `amqp://user:password@one:5672,two:5672/`."""

import random
from collections.abc import Iterator
from itertools import cycle
from urllib.parse import urlsplit


def one_by_one(url: str) -> list[str]:
    """The address once for each of its hosts. Raises ValueError."""
    whole = urlsplit(url)
    user, at, hosts = whole.netloc.rpartition("@")
    if not all(urlsplit(f"//{host}").hostname for host in hosts.split(",")):
        raise ValueError("an address names no host")  # and is not shown, as it may hold a password
    return [whole._replace(netloc=f"{user}{at}{host}").geturl() for host in hosts.split(",")]


def in_turn(url: str) -> Iterator[str]:
    """The same without end, beginning anywhere, so that replicas spread over the servers."""
    urls = one_by_one(url)
    random.shuffle(urls)
    return cycle(urls)
