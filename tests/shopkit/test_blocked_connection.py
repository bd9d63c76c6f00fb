"""RabbitMQ blocks connections that publish while it is low on memory or disk space."""

from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from gozon.topology import TOPOLOGY
from orders.messages import order_created
from shopkit.messaging import publisher as shop_publisher
from shopkit.messaging.broker import BrokerUnavailable, RabbitMQ
from shopkit.messaging.publisher import NotPublished, Publisher
from tests.alarms import memory_alarm
from tests.conftest import Spawn
from tests.servers import Broker, running, succeeds
from tests.support import Caller, eventually, new_user

CREATED = "payments.order-created"


async def test_orders_is_not_ready_during_a_memory_alarm_and_still_accepts_orders(
    spawn: Spawn,
    session: aiohttp.ClientSession,
    orders_url: str,
    broker: Broker,
    broker_url: str,
    servers: dict[str, Any],
) -> None:
    replica = await spawn("orders", DATABASE_URL=orders_url, BROKER_URL=broker_url)
    caller = Caller(session, replica.url)

    async def reports_the_alarm() -> bool:
        status, readiness = await replica.readiness(session)
        return status == 503 and "takes no messages" in readiness["parts"]["broker"]

    async with memory_alarm(servers):
        order = await caller.order(1)
        await eventually(reports_the_alarm)
        later = await caller.order(1)
    await replica.ready(session)
    relayed: set[str] = set()
    while not relayed >= {order, later}:
        relayed |= {event["subject"] for event in await broker.take_events(CREATED)}


async def test_a_blocked_connection_is_kept_until_the_alarm_is_over(
    broker: Broker,
    broker_url: str,
    servers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new connection would not know of the alarm, and readiness would alternate between 503 and 200."""
    monkeypatch.setattr(shop_publisher, "CONFIRM_TIMEOUT", 1)
    publisher = Publisher(RabbitMQ(broker_url, TOPOLOGY), "test")
    event = order_created(uuid4(), new_user(), 1).event
    async with running(publisher):
        await succeeds(publisher.check)
        async with memory_alarm(servers):
            for _ in range(3):
                with pytest.raises(NotPublished):
                    await publisher.publish("order.created", [event])
                with pytest.raises(BrokerUnavailable, match="takes no messages"):
                    await publisher.check()
        await succeeds(publisher.check)
        await publisher.publish("order.created", [event])
