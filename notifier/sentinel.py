"""Connects to Redis through sentinels, which name the server that is the primary now."""

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
# Short, so that a sentinel that does not reply leaves time to ask the next one.
SENTINEL_SECONDS = 1


class PrimaryConnection(Connection):
    """A connection that asks the sentinels for the primary each time it connects.

    It raises ConnectionError if the server is not, or no longer, the primary. The next attempt asks again.
    """

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
        if (await self.read_response())[0] != b"master":  # the sentinel does not know about a failover yet
            raise RedisConnectionError(f"{self.host}:{self.port} is not the primary")

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Disconnects if the server refuses writes, as another server may be the primary by now.

        Redis refuses writes after it became a replica (READONLY), or has lost its replicas (NOREPLICAS).
        """
        try:
            return cast("Any", await super().read_response(*args, **kwargs))
        except ResponseError as error:
            if isinstance(error, ReadOnlyError) or str(error).startswith("NOREPLICAS"):
                await self.disconnect()
                raise RedisConnectionError(str(error)) from error
            raise


def sentinel_options(url: str) -> dict[str, Any]:
    """Returns connection pool options for `redis+sentinel://user:password@host:port,host:port/primary/database`.

    Redis and its sentinels share user and password. Raises ValueError if the URL has no host or no primary.
    """
    parts = urlsplit(url)
    sentinels = [(host.hostname, host.port or SENTINEL_PORT) for host in map(urlsplit, host_urls(url))]
    credentials = {
        "username": unquote(parts.username or "") or None,
        "password": unquote(parts.password or "") or None,
    }
    primary, _, database = parts.path.strip("/").partition("/")
    if not primary:
        raise ValueError("a redis+sentinel URL has no primary")
    return {
        "connection_class": PrimaryConnection,
        "sentinel": Sentinel(sentinels, sentinel_kwargs=_connection_options() | credentials),
        "primary": primary,
        "db": int(database or 0),
        **credentials,
    }


def _connection_options() -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
