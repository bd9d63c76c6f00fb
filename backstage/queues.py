"""The depths of the broker's queues."""

import asyncio

from aio_pika.abc import AbstractChannel

from backstage.snapshot import QueueDepth
from gozon.topology import TOPOLOGY
from shopkit.messaging.broker import BrokerUnavailable, PersistentChannel, RabbitMQ

RESPONSE_SECONDS = 1


class Queues(PersistentChannel):
    """A channel to the broker. After a timeout it is replaced."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(RabbitMQ(url, TOPOLOGY), f"{name} queues")

    async def depths(self) -> list[QueueDepth]:
        """Returns the depth of each queue, or None for each queue if the broker is unavailable."""
        try:
            async with self.channel() as channel:
                async with asyncio.timeout(RESPONSE_SECONDS):
                    return [QueueDepth(queue.name, await _messages_in(queue.name, channel)) for queue in TOPOLOGY]
        except BrokerUnavailable:
            return [QueueDepth(queue.name, None) for queue in TOPOLOGY]


async def _messages_in(name: str, channel: AbstractChannel) -> int | None:
    queue = await channel.declare_queue(name, passive=True)
    return queue.declaration_result.message_count
