from collections.abc import AsyncGenerator

import pytest

from shopkit.publisher import Publisher
from tests.servers import Broker, running, succeeds


@pytest.fixture
async def publisher(broker_url: str, broker: Broker) -> AsyncGenerator[Publisher]:
    """A publisher that is connected."""
    publisher = Publisher(broker_url, "test")
    async with running(publisher):
        await succeeds(publisher.check)
        yield publisher
