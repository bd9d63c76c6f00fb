"""How much waits in the queues of the broker."""

import asyncio

from aio_pika.abc import AbstractChannel

from backstage.snapshot import QueueDepth
from shopkit.broker import TOPOLOGY, Lost, Session, losses

ANSWER_SECONDS = 1


class Queues:
    """Keeps one connection, over which it asks. One that did not answer in time is thrown away."""

    def __init__(self, url: str, name: str) -> None:
        self._session = Session(url, f"{name} queues", self._hold)
        self._channel: AbstractChannel | None = None
        self._lost = asyncio.Event()

    async def run(self) -> None:
        await self._session.run()

    def stop(self) -> None:
        self._session.stop()
        self._lost.set()

    async def depths(self) -> list[QueueDepth]:
        """Unknown while the broker is away."""
        try:
            with losses():
                async with asyncio.timeout(ANSWER_SECONDS):
                    return [QueueDepth(queue.name, await self._messages_in(queue.name)) for queue in TOPOLOGY]
        except Lost:
            self._lose()
        return [QueueDepth(queue.name, None) for queue in TOPOLOGY]

    async def _messages_in(self, name: str) -> int | None:
        if self._channel is None:
            return None
        queue = await self._channel.declare_queue(name, passive=True)
        return queue.declaration_result.message_count

    async def _hold(self, channel: AbstractChannel) -> None:
        self._lost.clear()
        channel.close_callbacks.add(self._lose)
        self._channel = channel
        try:
            if not self._session.stopping.is_set():
                await self._lost.wait()
        finally:
            self._channel = None

    def _lose(self, *_: object) -> None:
        self._lost.set()
