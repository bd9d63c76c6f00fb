"""Wires the notifier: settings, Redis and RabbitMQ clients, workers and routes."""

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
    """Settings of the notifier, one environment variable each.

    - `allowed_origins`: the origins of the pages that may open a socket, separated by commas.
    - `identity_seconds`: how long a socket stays open on one ticket. The client must renew it before.
    - `ping_seconds`, `pong_seconds`: their sum must stay below `presence.LEASE_SECONDS`, after which Redis forgets
      a socket that it has not heard of. Hence their upper limits.
    - `redis_replicas`: the number of Redis replicas that must have a notification before it is published and
      its event acknowledged. 0 for a Redis without replicas.
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
    # Fan-out and probes have their own connection pool, so that many joining sockets do not delay them.
    worker_redis = streams.connect(settings.redis_url)
    hub = Hub(redis, worker_redis, settings.replica, settings.sockets_per_user)
    issuer = Tickets(redis)
    rules = Rules(
        frozenset(settings.allowed_origins.split(",")),
        settings.identity_seconds,
        settings.ping_seconds,
        settings.pong_seconds,
    )
    endpoint = SocketEndpoint(hub, issuer, rules)
    rabbitmq = RabbitMQ(settings.broker_url, TOPOLOGY)
    publisher = Publisher(rabbitmq, settings.replica)
    statuses = Consumer(
        rabbitmq,
        settings.replica,
        ORDER_STATUS,
        decode_order_status,
        FanOut(worker_redis, settings.redis_replicas).publish,
        publisher,
    )

    async def check_redis() -> None:
        await redis.ping()

    async def drain() -> None:
        endpoint.draining = True
        statuses.stop()
        await hub.drain()

    return Service(
        "notifier",
        settings,
        about="Tickets for the WebSocket that sends order notifications.",
        handlers=[tickets.router, endpoint.handler()],
        workers=[hub.presence, hub.subscriber, publisher, statuses],
        checks={
            "redis": check_redis,
            "subscription": hub.subscriber.check,
            "broker": publisher.check,
            "status events": statuses.check,
        },
        dependencies={"call": per_user(lambda user_id: TicketsContext(user_id, issuer))},
        websocket=WebSocketProtocol,
        drain=drain,
    )


def main() -> None:
    build(load(NotifierSettings)).serve()
