"""A server with Litestar's channels over Redis pub/sub as in its documentation, with the notifier's options."""

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

from loadtest.arguments import argument_parser
from loadtest.bench.push_rivals.wire import channel
from shopkit.web.service import tune_garbage_collector

WELCOME = '{"type":"welcome"}'

# Exceptions of sending to a socket that the client has closed. RuntimeError is raised if uvicorn closed the socket.
DISCONNECTED = (WebSocketDisconnect, ClientDisconnected, RuntimeError)


def build(redis_url: str) -> Litestar:
    # Channels subscribe over one connection. The queries of `_wait_until_subscribed` wait for one of the others.
    redis = Redis(connection_pool=BlockingConnectionPool.from_url(redis_url))
    # One channel from the start makes Litestar connect to Redis before the first sockets come. Otherwise the first
    # sockets would open a connection each, simultaneously, and only the last connection would be kept.
    channels = ChannelsPlugin(
        RedisChannelsPubSubBackend(redis=redis), channels=["everybody"], arbitrary_channels_allowed=True
    )

    @websocket("/ws")
    async def push(socket: WebSocket[Any, Any, Any]) -> None:
        name = channel(socket.query_params["user"])

        async def pass_on(message: bytes) -> None:
            # An exception would end the task behind `subscriber`, and Litestar would then not unsubscribe.
            with suppress(*DISCONNECTED):
                await socket.send_text(message)

        async with channels.start_subscription(name) as subscriber:
            await _wait_until_subscribed(redis, name)
            with suppress(*DISCONNECTED):
                await socket.accept()
                await socket.send_text(WELCOME)
                # With join=True the exit would wait until all messages are sent, for ever if the client has left.
                async with subscriber.run_in_background(pass_on, join=False):
                    while (await socket.receive())["type"] != "websocket.disconnect":
                        pass

    return Litestar(
        [push], plugins=[channels], on_shutdown=[redis.aclose], logging_config=None, openapi_config=None
    )


async def _wait_until_subscribed(redis: Redis, name: str) -> None:
    """Waits for Redis, because Litestar only writes SUBSCRIBE and does not wait for the reply."""
    while not (await redis.pubsub_numsub(name))[0][1]:
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    parser = argument_parser("loadtest.bench.push_rivals.channels", __doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0", help="URL (default: %(default)s)")
    arguments = parser.parse_args()
    tune_garbage_collector()
    uvicorn.run(
        build(arguments.redis),
        host="127.0.0.1",
        port=arguments.port,
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
