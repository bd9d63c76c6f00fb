"""Redis behind sentinels: a connection to whichever server they say is the primary."""

from typing import Any, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

from shopkit.runtime.hosts import host_urls

SCHEME = "redis+sentinel"
SENTINEL_PORT = 26379
# A sentinel that says nothing must leave time to ask another one.
SENTINEL_SECONDS = 1


class PrimaryConnection(Connection):
    """Asks the sentinels each time it connects, and ends when it reached no primary, or one no longer."""

    def __init__(self, *, sentinel: Sentinel, primary: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._sentinel = sentinel
        self._primary = primary

    async def _connect(self) -> None:
        self.host, self.port = await self._sentinel.discover_master(self._primary)
        await super()._connect()

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)
        await self.send_command("ROLE")
        if (await self.read_response())[0] != b"master":  # the sentinel has not heard yet
            raise RedisConnectionError(f"{self.host}:{self.port} is not the primary")

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """A primary that became a replica, or has lost its replicas, refuses writes: another one may take them."""
        try:
            return cast("Any", await super().read_response(*args, **kwargs))
        except ResponseError as error:
            if isinstance(error, ReadOnlyError) or str(error).startswith("NOREPLICAS"):
                await self.disconnect()
                raise RedisConnectionError(str(error)) from error
            raise


def by_sentinel(url: str) -> dict[str, Any]:
    """What a pool is told for `redis+sentinel://user:password@host:port,host:port/primary/database`.

    User and password are those of Redis and of its sentinels. Raises ValueError.
    """
    whole = urlsplit(url)
    sentinels = [(host.hostname, host.port or SENTINEL_PORT) for host in map(urlsplit, host_urls(url))]
    credentials = {
        "username": unquote(whole.username or "") or None,
        "password": unquote(whole.password or "") or None,
    }
    primary, _, database = whole.path.strip("/").partition("/")
    if not primary:
        raise ValueError("an address of sentinels names no primary")
    return {
        "connection_class": PrimaryConnection,
        "sentinel": Sentinel(sentinels, sentinel_kwargs=_to_sentinels() | credentials),
        "primary": primary,
        "db": int(database or 0),
        **credentials,
    }


def _to_sentinels() -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
