"""Where the replicas of each service are, and which of them gets the next request."""

import asyncio
import random
import socket
import time
from collections.abc import Iterable
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

import msgspec
import structlog

from shopkit.runtime.retry import pause

RESOLVE_SECONDS = 5
AVOID_SECONDS = 1

_URLS = r"http://[^\s,/]+/?(,http://[^\s,/]+/?)*"
# Settings: base URLs, separated by commas; a name stands for every address that it resolves to.
Urls: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"^{_URLS}\Z")]
UrlsIfAny: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"^({_URLS})?\Z")]

log = structlog.get_logger()


class Target:
    """One replica. `busy` counts the requests it has been given and has not answered."""

    def __init__(self, host: str, port: int) -> None:
        self.address = host, port
        self.base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.busy = 0
        self.avoid_until = 0.0

    def refused(self) -> None:
        """No connection could be made: others are asked first for a moment."""
        self.avoid_until = time.monotonic() + AVOID_SECONDS


class Upstream:
    """One service under one or several addresses; a name stands for every address it resolves to."""

    def __init__(self, name: str, urls: str) -> None:
        self.name = name
        self._names = {(parts.hostname or "", parts.port or 80) for parts in map(urlsplit, urls.split(","))}
        self._addresses: dict[tuple[str, int], set[tuple[str, int]]] = {}
        self._targets: dict[tuple[str, int], Target] = {}
        self._stopping = asyncio.Event()

    def in_order(self) -> Iterable[Target]:
        """All replicas, the one to ask first in front: not avoided, least busy, chance decides among equals."""
        now = time.monotonic()
        targets = list(self._targets.values())
        random.shuffle(targets)
        return sorted(targets, key=lambda target: (target.avoid_until > now, target.busy))

    @property
    def bases(self) -> list[str]:
        """The base URL of each replica, in an order that lasts."""
        return sorted(target.base for target in self._targets.values())

    async def check(self) -> None:
        if not self._targets:
            raise ConnectionError(f"no address of {self.name} is known")

    async def run(self) -> None:
        """Follows each name by itself, so that replicas come and go without a restart."""
        await asyncio.gather(*map(self._follow, self._names))

    def stop(self) -> None:
        self._stopping.set()

    async def _follow(self, name: tuple[str, int]) -> None:
        while not self._stopping.is_set():
            await self._resolve(name)
            await pause(self._stopping, RESOLVE_SECONDS if self._targets else 0.5)

    async def _resolve(self, name: tuple[str, int]) -> None:
        host, port = name
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            # While the name server is unavailable, we keep the replicas that we know under this name.
            log.warning("name not resolved", host=host, error=repr(error))
            return
        self._addresses[name] = {(str(info[4][0]), port) for info in infos}
        found = set[tuple[str, int]]().union(*self._addresses.values())
        self._targets = {key: self._targets.get(key) or Target(*key) for key in found}
