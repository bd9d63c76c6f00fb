"""Builds and publishes order status events as the orders service does."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec

from shopkit.messaging.events import Event
from tests.servers import Broker
from tests.support import Caller, Replica

ORIGIN = "http://shop.test"


def status_event(user_id: str, **fields: Any) -> Event[dict[str, Any]]:
    order_id = str(uuid4())
    data = {"order_id": order_id, "user_id": user_id, "amount": 5, "description": 'a "lamp" \u20ac'}
    return Event(
        specversion="1.0",
        id=uuid4(),
        source="orders",
        type="order.finished",
        subject=order_id,
        time="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        datacontenttype="application/json",
        data=data | {"status": "FINISHED", "version": 2} | fields,
    )


async def publish(broker: Broker, events: Sequence[Event[dict[str, Any]]]) -> None:
    """Publishes the events as one message."""
    await broker.publish_body("order.finished", msgspec.json.encode(events))


def on(replica: Replica, session: aiohttp.ClientSession, user_id: str | None = None) -> Caller:
    return Caller(session, replica.url, user_id)
