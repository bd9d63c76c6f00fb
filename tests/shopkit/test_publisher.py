from typing import Any

import pytest

from shopkit.publisher import NotPublished, Publisher
from tests.servers import Broker


async def test_a_message_that_the_broker_refuses_costs_nobody_the_channel(
    publisher: Publisher, broker: Broker
) -> None:
    no_room: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
    await broker.channel.declare_queue("full", arguments=no_room)
    with publisher.channel() as before:
        pass
    with pytest.raises(NotPublished):
        await publisher.send("full", b"", {})
    with pytest.raises(NotPublished):
        await publisher.send("no such queue", b"", {})
    assert await broker.ready_in("full") == 0
    with publisher.channel() as after:
        assert after is before
    await publisher.publish("order.created", [b"{}"])
