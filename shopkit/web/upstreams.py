"""Load balancing: the replicas of each service, found by DNS, and the choice of one for the next request."""

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
# Types of settings: base URLs, separated by commas. A host name stands for every address that it resolves to.
Urls: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"^{_URLS}\Z")]
UrlsIfAny: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"^({_URLS})?\Z")]

log = structlog.get_logger()


class Target:
    """The address of one replica. `busy` counts the requests that it has not responded to yet."""

    def __init__(self, host: str, port: int) -> None:
        self.address = host, port
        self.base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.busy = 0
        self.avoid_until = 0.0

    def refused(self) -> None:
        """Reports a failed connection: for AVOID_SECONDS, `in_order` puts this replica after the others."""
        self.avoid_until = time.monotonic() + AVOID_SECONDS


class Upstream:
    """All replicas of one service. `urls` has the format of `Urls`."""

    def __init__(self, name: str, urls: str) -> None:
        self.name = name
        self._names = {(parts.hostname or "", parts.port or 80) for parts in map(urlsplit, urls.split(","))}
        self._addresses: dict[tuple[str, int], set[tuple[str, int]]] = {}
        self._targets: dict[tuple[str, int], Target] = {}
        self._stopping = asyncio.Event()

    def in_order(self) -> Iterable[Target]:
        """Returns all replicas in the order to try them: not avoided first, then least busy, then by chance."""
        now = time.monotonic()
        targets = list(self._targets.values())
        random.shuffle(targets)
        return sorted(targets, key=lambda target: (target.avoid_until > now, target.busy))

    @property
    def bases(self) -> list[str]:
        """The base URL of each replica, sorted."""
        return sorted(target.base for target in self._targets.values())

    async def check(self) -> None:
        if not self._targets:
            raise ConnectionError(f"no address of {self.name} is known")

    async def run(self) -> None:
        """Resolves each host name again and again, so replicas can be added and removed without a restart."""
        await asyncio.gather(*map(self._keep_resolved, self._names))

    def stop(self) -> None:
        self._stopping.set()

    async def _keep_resolved(self, name: tuple[str, int]) -> None:
        while not self._stopping.is_set():
            await self._resolve(name)
            await pause(self._stopping, RESOLVE_SECONDS if self._targets else 0.5)

    async def _resolve(self, name: tuple[str, int]) -> None:
        host, port = name
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            # If the name server is unavailable, the known replicas of this name stay in use.
            log.warning("host name not resolved", host=host, error=repr(error))
            return
        self._addresses[name] = {(str(info[4][0]), port) for info in infos}
        found = set[tuple[str, int]]().union(*self._addresses.values())
        self._targets = {key: self._targets.get(key) or Target(*key) for key in found}
