"""Litestar's channels over Redis pub/sub, as its documentation has it, served with the notifier's options."""

import argparse
import asyncio
from contextlib import suppress
from typing import Any

import uvicorn
from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.redis import RedisChannelsPubSubBackend
from litestar.exceptions import WebSocketDisconnect
from redis.asyncio import BlockingConnectionPool, Redis
from uvicorn.protocols.utils import ClientDisconnected

from loadtest.bench.push_rivals.wire import channel
from shopkit.web.service import tune_garbage_collector

WELCOME = '{"type":"welcome"}'

# What sending to a socket raises when its other end has left; the last when uvicorn has closed it by itself.
GONE = (WebSocketDisconnect, ClientDisconnected, RuntimeError)


def build(redis_url: str) -> Litestar:
    # It subscribes over one connection, and a rush of new sockets waits for the others.
    redis = Redis(connection_pool=BlockingConnectionPool.from_url(redis_url))
    # With one channel from the start, its connection to Redis is there before the first sockets, which would
    # otherwise each open one at once and keep only the last.
    channels = ChannelsPlugin(
        RedisChannelsPubSubBackend(redis=redis), channels=["everybody"], arbitrary_channels_allowed=True
    )

    @websocket("/ws")
    async def push(socket: WebSocket[Any, Any, Any]) -> None:
        name = channel(socket.query_params["user"])

        async def pass_on(message: bytes) -> None:
            # Raised here, it would end the task behind `subscriber`, and then Litestar does not unsubscribe.
            with suppress(*GONE):
                await socket.send_text(message)

        async with channels.start_subscription(name) as subscriber:
            await _subscribed(redis, name)
            with suppress(*GONE):
                await socket.accept()
                await socket.send_text(WELCOME)
                # Not joined: a client that has left takes nothing more, and the wait for it would not end.
                async with subscriber.run_in_background(pass_on, join=False):
                    while (await socket.receive())["type"] != "websocket.disconnect":
                        pass

    return Litestar(
        [push], plugins=[channels], on_shutdown=[redis.aclose], logging_config=None, openapi_config=None
    )


async def _subscribed(redis: Redis, name: str) -> None:
    """Litestar only writes SUBSCRIBE and does not wait for what Redis says to it."""
    while not (await redis.pubsub_numsub(name))[0][1]:
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    given = parser.parse_args()
    tune_garbage_collector()
    uvicorn.run(
        build(given.redis),
        host="127.0.0.1",
        port=given.port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=4096,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
