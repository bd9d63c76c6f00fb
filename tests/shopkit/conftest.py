from collections.abc import AsyncGenerator

import pytest

from gozon.topology import TOPOLOGY
from shopkit.messaging import low_water_mark
from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.publisher import Publisher
from tests.servers import Broker, running, succeeds


@pytest.fixture
async def publisher(broker_url: str, broker: Broker) -> AsyncGenerator[Publisher]:
    """A connected publisher."""
    publisher = Publisher(RabbitMQ(broker_url, TOPOLOGY), "test")
    async with running(publisher):
        await succeeds(publisher.check)
        yield publisher


@pytest.fixture
def every_read_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes each read of inbox and outbox begin at the lowest id, so that an event is found again immediately."""
    monkeypatch.setattr(low_water_mark, "SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(low_water_mark, "SWEEP_PAUSE_FACTOR", 0)
