"""The wiring of the notifier."""

from typing import Annotated

import msgspec

from gozon.topology import ORDER_STATUS, TOPOLOGY
from notifier import streams, tickets
from notifier.fan_out import FanOut
from notifier.hub import Hub
from notifier.messages import decode_order_status
from notifier.sockets import Rules, SocketEndpoint
from notifier.tickets import Tickets, TicketsContext
from notifier.wire import WebSocketProtocol
from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.consumer import Consumer
from shopkit.messaging.publisher import Publisher
from shopkit.runtime.settings import Settings, load
from shopkit.web.identity import per_user
from shopkit.web.service import Service


class NotifierSettings(Settings, frozen=True, kw_only=True):
    """`allowed_origins`: the pages, separated by commas, that may open a socket.

    `identity_seconds`: how long a socket lives on one ticket. The attendance of a socket in Redis outlives
    a ping and its answer, hence their limits. `redis_replicas`: so many must have a toast before it is published
    and its event acknowledged; 0 for a Redis that has none.
    """

    broker_url: str
    redis_url: str
    redis_replicas: Annotated[int, msgspec.Meta(ge=0)] = 0
    allowed_origins: str
    sockets_per_user: Annotated[int, msgspec.Meta(ge=1)] = 10
    identity_seconds: Annotated[float, msgspec.Meta(ge=1)] = 3600
    ping_seconds: Annotated[float, msgspec.Meta(ge=0.5, le=60)] = 25
    pong_seconds: Annotated[float, msgspec.Meta(ge=0.5, le=30)] = 10


def build(settings: NotifierSettings) -> Service:
    redis = streams.connect(settings.redis_url)
    # Fan-out and probes have connections of their own: a rush of new sockets must not hold them up.
    own_redis = streams.connect(settings.redis_url)
    hub = Hub(redis, own_redis, settings.replica, settings.sockets_per_user)
    issued = Tickets(redis)
    rules = Rules(
        frozenset(settings.allowed_origins.split(",")),
        settings.identity_seconds,
        settings.ping_seconds,
        settings.pong_seconds,
    )
    door = SocketEndpoint(hub, issued, rules)
    rabbitmq = RabbitMQ(settings.broker_url, TOPOLOGY)
    publisher = Publisher(rabbitmq, settings.replica)
    statuses = Consumer(
        rabbitmq,
        settings.replica,
        ORDER_STATUS,
        decode_order_status,
        FanOut(own_redis, settings.redis_replicas),
        publisher,
    )

    async def check_redis() -> None:
        await redis.ping()

    async def drain() -> None:
        door.closed = True
        statuses.stop()
        await hub.drain()

    return Service(
        "notifier",
        settings,
        about="Tickets for the WebSocket that tells how orders went.",
        handlers=[tickets.router, door.handler()],
        workers=[hub.presence, hub.subscriber, publisher, statuses],
        checks={
            "redis": check_redis,
            "subscription": hub.subscriber.check,
            "broker": publisher.check,
            "status events": statuses.check,
        },
        dependencies={"call": per_user(lambda user_id: TicketsContext(user_id, issued))},
        websocket=WebSocketProtocol,
        drain=drain,
    )


def main() -> None:
    build(load(NotifierSettings)).serve()
