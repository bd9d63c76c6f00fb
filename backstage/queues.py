"""How much waits in the queues of the broker."""

import asyncio

from aio_pika.abc import AbstractChannel

from backstage.snapshot import QueueDepth
from shopkit.broker import TOPOLOGY, HeldChannel, Lost

ANSWER_SECONDS = 1


class Queues:
    def __init__(self, url: str, name: str) -> None:
        self._held = HeldChannel(url, f"{name} queues")

    async def run(self) -> None:
        await self._held.run()

    def stop(self) -> None:
        self._held.stop()

    async def depths(self) -> list[QueueDepth]:
        """Unknown while the broker is away."""
        try:
            with self._held.channel() as channel:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return [QueueDepth(queue.name, await _messages_in(queue.name, channel)) for queue in TOPOLOGY]
        except Lost:
            return [QueueDepth(queue.name, None) for queue in TOPOLOGY]


async def _messages_in(name: str, channel: AbstractChannel) -> int | None:
    queue = await channel.declare_queue(name, passive=True)
    return queue.declaration_result.message_count
