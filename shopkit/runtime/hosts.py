"""URLs with several hosts: `amqp://user:password@one:5672,two:5672/`."""

import random
from collections.abc import Iterator
from itertools import cycle
from urllib.parse import urlsplit


def host_urls(url: str) -> list[str]:
    """Returns one URL per host of `url`. Raises ValueError if a host is missing."""
    whole = urlsplit(url)
    user, at, hosts = whole.netloc.rpartition("@")
    if not all(urlsplit(f"//{host}").hostname for host in hosts.split(",")):
        raise ValueError("the address has no host")  # without the address, which can contain a password
    return [whole._replace(netloc=f"{user}{at}{host}").geturl() for host in hosts.split(",")]


def cycle_host_urls(url: str) -> Iterator[str]:
    """Yields the URLs of `host_urls` endlessly, in a random order, so that replicas spread over the servers."""
    urls = host_urls(url)
    random.shuffle(urls)
    return cycle(urls)
