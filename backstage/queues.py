"""How much waits in the queues of the broker."""

import asyncio

from aio_pika.abc import AbstractChannel

from backstage.snapshot import QueueDepth
from gozon.topology import TOPOLOGY
from shopkit.messaging.broker import BrokerUnavailable, PersistentChannel, RabbitMQ

ANSWER_SECONDS = 1


class Queues(PersistentChannel):
    """A channel that did not answer in time is thrown away."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(RabbitMQ(url, TOPOLOGY), f"{name} queues")

    async def depths(self) -> list[QueueDepth]:
        """Unknown while the broker is away."""
        try:
            async with self.channel() as channel:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return [QueueDepth(queue.name, await _messages_in(queue.name, channel)) for queue in TOPOLOGY]
        except BrokerUnavailable:
            return [QueueDepth(queue.name, None) for queue in TOPOLOGY]


async def _messages_in(name: str, channel: AbstractChannel) -> int | None:
    queue = await channel.declare_queue(name, passive=True)
    return queue.declaration_result.message_count
