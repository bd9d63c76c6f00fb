"""Everything that is published comes up to five times more, shuffled, in other messages than before."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from shopkit.broker import EXCHANGE, TOPOLOGY
from shopkit.events import decode_batch, encode_batch
from shopkit.publisher import persistent

MOST = 5
LATER_SECONDS = 2.0
SENT_IN = 60
QUEUES = {key: queue.name for queue in TOPOLOGY for key in queue.routing_keys}


class Copier:
    """Reads along, and puts copies straight into the queues of the consumers, so that it does not copy its own.

    When it is `reminding`, a copy of order.created is an event of its own, as the reconciler sends it.
    """

    def __init__(self, channel: AbstractChannel, random: Random, *, reminding: bool) -> None:
        self.made = 0
        self._channel = channel
        self._random = random
        self._reminding = reminding
        self.sending: set[asyncio.Task[None]] = set()

    async def copy(self, message: AbstractIncomingMessage) -> None:
        reminding = self._reminding and message.routing_key == "order.created"
        for _ in range(self._random.randint(1, MOST)):
            events = decode_batch(message.body)
            self._random.shuffle(events)
            if reminding:
                events = [_reminder(event) for event in events]
            task = asyncio.create_task(self._send(QUEUES[message.routing_key or ""], events))
            self.sending.add(task)

    async def _send(self, queue: str, events: list[bytes]) -> None:
        await asyncio.sleep(self._random.uniform(0, LATER_SECONDS))
        middle = self._random.randint(0, len(events))
        for part in (events[middle:], events[:middle]):
            if part:
                await self._channel.default_exchange.publish(persistent(encode_batch(part)), queue)
                self.made += len(part)


def _reminder(event: bytes) -> bytes:
    reminded: dict[str, Any] = json.loads(event) | {"id": str(uuid4())}
    return json.dumps(reminded).encode()


@asynccontextmanager
async def copying(url: str, random: Random, *, reminding: bool = False) -> AsyncGenerator[Copier]:
    async with await aio_pika.connect(url, timeout=10) as connection:
        channel = await connection.channel(publisher_confirms=True)
        copier = Copier(channel, random, reminding=reminding)
        queue = await channel.declare_queue("", exclusive=True)
        await queue.bind(EXCHANGE, "#")
        tag = await queue.consume(copier.copy, no_ack=True)
        yield copier
        await queue.cancel(tag)
        async with asyncio.timeout(SENT_IN):
            await asyncio.gather(*copier.sending)
