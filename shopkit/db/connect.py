"""Connections to PostgreSQL: their settings, and the choice among several hosts."""

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
    # Connects to the primary only, also if the address asks for another kind of server.
    "target_session_attrs": "read-write",
    "server_settings": {
        "application_name": "gozon",
        "jit": "off",
        # PostgreSQL caches a plan that it made while a queue table was empty. Later the table can have 100,000
        # rows. Only an index scan then reads the oldest rows of a batch without reading and sorting all of them.
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        # A frozen replica must not hold row locks or the migration lock for ever. Longer than the timeout of a
        # confirm, because the relay waits for confirms inside a transaction.
        "idle_in_transaction_session_timeout": "30s",
        "lock_timeout": "10s",
    },
}


def connector(url: str, connect: Mapping[str, Any] = CONNECT) -> Callable[..., Awaitable[Any]]:
    """Returns a function that connects to a usable host of `url`, beginning with the host that was usable last.

    asyncpg accepts several hosts as well, but has one timeout for all of them. A host that does not respond would
    use it up.
    """
    hosts = deque(host_urls(url))
    # The name of an unavailable host can take long to resolve, and a process has four threads for that.
    one_at_a_time = asyncio.Lock()

    async def first_usable(left: int, options: Mapping[str, Any]) -> Any:
        try:
            return await _connect(hosts[0], options)
        except BaseException as error:
            # Also if the caller was cancelled: the next call must not begin with a host that does not respond.
            hosts.rotate(-1)
            if left == 1 or not is_transient(error):
                raise
        return await first_usable(left - 1, options)

    # The pool of asyncpg passes its own address and options.
    async def connect_to_usable(_address: object = None, **options: Any) -> Any:
        async with one_at_a_time:
            return await first_usable(len(hosts), {**connect, **options})

    return connect_to_usable


async def _connect(host: str, options: Mapping[str, Any]) -> Any:
    try:
        return cast("Any", await asyncpg.connect(host, **options))
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise ConnectionError("not the primary") from error


def engine_at(url: str, connect: Mapping[str, Any] = CONNECT, **options: Any) -> AsyncEngine:
    """Returns an SQLAlchemy engine that connects by `connector`. An address of SQLAlchemy itself names one host."""
    return create_async_engine("postgresql+asyncpg://", async_creator=connector(url, connect), **options)
