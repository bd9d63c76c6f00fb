"""Connecting to PostgreSQL: with what settings, and to which of several hosts."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shopkit.runtime.hosts import host_urls
from shopkit.runtime.retry import is_transient

CONNECT: dict[str, Any] = {
    "timeout": 5,
    "command_timeout": 15,
    # Of several hosts the one that is the primary, whatever the address says.
    "target_session_attrs": "read-write",
    "server_settings": {
        "application_name": "gozon",
        "jit": "off",
        # Plans are made and kept while the table of a queue is empty, and then meet a hundred thousand rows. Only
        # the walk along an index takes the oldest few without reading and sorting all of them for each batch.
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        # A frozen replica must not hold rows, or the migration lock, for ever. Longer than a confirm may take.
        "idle_in_transaction_session_timeout": "30s",
        "lock_timeout": "10s",
    },
}


def connector(url: str, connect: Mapping[str, Any] = CONNECT) -> Callable[..., Awaitable[Any]]:
    """What connects to the first of the hosts in `url` that can be used, beginning with the last that could.

    asyncpg tries several as well, but has one time limit for them all, which a host that says nothing uses up.
    """
    hosts = deque(host_urls(url))
    # The name of a host that is away may take long to resolve, and a process has four threads that do it.
    one_at_a_time = asyncio.Lock()

    async def one_of(left: int, options: Mapping[str, Any]) -> Any:
        try:
            return await _connected(hosts[0], options)
        except BaseException as error:
            hosts.rotate(-1)  # also when the caller would not wait: it begins behind the silent host next time
            if left == 1 or not is_transient(error):
                raise
        return await one_of(left - 1, options)

    async def connected(_address: object = None, **options: Any) -> Any:  # asyncpg's pool gives its own, too
        async with one_at_a_time:
            return await one_of(len(hosts), {**connect, **options})

    return connected


async def _connected(host: str, options: Mapping[str, Any]) -> Any:
    try:
        return cast("Any", await asyncpg.connect(host, **options))
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise ConnectionError("not the primary") from error


def engine_at(url: str, connect: Mapping[str, Any] = CONNECT, **options: Any) -> AsyncEngine:
    """SQLAlchemy on such a connection; its own form of an address has one host."""
    return create_async_engine("postgresql+asyncpg://", async_creator=connector(url, connect), **options)
