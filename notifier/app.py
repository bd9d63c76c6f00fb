"""The wiring of the notifier."""

from notifier import streams, tickets
from notifier.hub import Hub
from notifier.messages import decode_order_status
from notifier.order_status import FanOut
from notifier.sockets import Door, order_socket
from notifier.tickets import Call
from shopkit.broker import ORDER_STATUS
from shopkit.consumer import Consumer
from shopkit.identity import on_behalf
from shopkit.publisher import Publisher
from shopkit.service import Service
from shopkit.settings import Settings, load


class NotifierSettings(Settings, frozen=True, kw_only=True):
    """`allowed_origins`: the pages, separated by commas, that may open a socket."""

    broker_url: str
    redis_url: str
    allowed_origins: str


def build(settings: NotifierSettings) -> Service:
    redis = streams.connect(settings.redis_url)
    # Fan-out and probes have connections of their own: a rush of new sockets must not hold them up.
    own_redis = streams.connect(settings.redis_url)
    hub = Hub(redis, own_redis, settings.replica)
    door = Door(hub, redis, frozenset(settings.allowed_origins.split(",")))
    publisher = Publisher(settings.broker_url, settings.replica)
    statuses = Consumer(
        settings.broker_url, settings.replica, ORDER_STATUS, decode_order_status, FanOut(own_redis), publisher
    )

    async def check_redis() -> None:
        await redis.ping()

    return Service(
        "notifier",
        settings,
        handlers=[tickets.router, order_socket],
        workers=[hub.subscriber, publisher, statuses],
        checks={
            "redis": check_redis,
            "subscription": hub.subscriber.check,
            "broker": publisher.check,
            "status events": statuses.check,
        },
        dependencies={"door": lambda: door, "call": on_behalf(lambda user_id: Call(user_id, redis))},
    )


def main() -> None:
    build(load(NotifierSettings)).serve()
