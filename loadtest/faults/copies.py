"""The events that services publish to the queues of consumers, read along and published again."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from gozon.topology import ORDER_CREATED, TOPOLOGY
from loadtest.faults.firehose import PublishedMessage, firehose, published
from loadtest.faults.shop import ShopUnderFaults
from shopkit.messaging.events import decode_batch, encode_batch
from shopkit.messaging.publisher import persistent

COPIES_LIMIT = 5
LATER_SECONDS = 2.0
SENT_IN = 60
QUEUES = frozenset(queue.name for queue in TOPOLOGY)
OURS = {"x-copy": True}


class Copier:
    """Publishes everything up to five times more, shuffled, in other messages than before.

    When it is `reminding`, a copy of order.created is an event of its own, as the reconciler sends it.
    """

    def __init__(self, channel: AbstractChannel, random: Random, *, reminding: bool) -> None:
        self.made = 0
        self._channel = channel
        self._random = random
        self._reminding = reminding
        self.sending: set[asyncio.Task[None]] = set()

    def copy(self, message: PublishedMessage) -> None:
        reminding = self._reminding and message.queue == ORDER_CREATED.name
        for _ in range(self._random.randint(1, COPIES_LIMIT)):
            events = decode_batch(message.body)
            self._random.shuffle(events)
            if reminding:
                events = [_reminder(event) for event in events]
            self.sending.add(asyncio.create_task(self._send(message.queue, events)))

    async def _send(self, queue: str, events: list[bytes]) -> None:
        await asyncio.sleep(self._random.uniform(0, LATER_SECONDS))
        middle = self._random.randint(0, len(events))
        for part in (events[middle:], events[:middle]):
            if part:
                await send(self._channel, queue, encode_batch(part))
                self.made += len(part)


class Record:
    """The bodies of the messages that services published to `queue` until it was closed."""

    def __init__(self, queue: str) -> None:
        self.bodies: list[bytes] = []
        self._queue = queue
        self._closed = False

    def keep(self, message: PublishedMessage) -> None:
        if message.queue == self._queue and not self._closed:
            self.bodies.append(message.body)

    def close(self) -> None:
        """Keeps nothing more: from now on messages are returned, and their publishers have to notice."""
        self._closed = True


def _reminder(event: bytes) -> bytes:
    reminded: dict[str, Any] = json.loads(event) | {"id": str(uuid4())}
    return json.dumps(reminded).encode()


async def send(channel: AbstractChannel, queue: str, body: bytes) -> None:
    await channel.default_exchange.publish(persistent(body, headers=OURS), queue)


@asynccontextmanager
async def copying(shop: ShopUnderFaults, random: Random, *, reminding: bool = False) -> AsyncGenerator[Copier]:
    async with await aio_pika.connect(shop.at["broker"], timeout=10) as connection:
        channel = await connection.channel(publisher_confirms=True)
        copier = Copier(channel, random, reminding=reminding)
        async with _reading(shop, channel, copier.copy):
            yield copier
        async with asyncio.timeout(SENT_IN):
            await asyncio.gather(*copier.sending)


@asynccontextmanager
async def sent_again(shop: ShopUnderFaults, queue: str) -> AsyncGenerator[Record]:
    """At the end, publishes again what `queue` got meanwhile."""
    async with await aio_pika.connect(shop.at["broker"], timeout=10) as connection:
        channel = await connection.channel(publisher_confirms=True)
        record = Record(queue)
        try:
            async with _reading(shop, channel, record.keep):
                yield record
        finally:
            await TOPOLOGY.declare(channel)
            for body in record.bodies:
                await send(channel, queue, body)


@asynccontextmanager
async def _reading(
    shop: ShopUnderFaults, channel: AbstractChannel, read: Callable[[PublishedMessage], None]
) -> AsyncGenerator[None]:
    """Lets `read` have each message that a service publishes to a queue of the topology."""

    async def trace(on: bool) -> None:
        await shop.contents.broker("PUT", "vhosts/%2F", {"tracing": on})

    async def heard(copy: AbstractIncomingMessage) -> None:
        message = published(copy)
        if message.queue in QUEUES and "x-copy" not in message.properties["headers"]:
            read(message)

    async with firehose(channel, trace) as queue:
        tag = await queue.consume(heard, no_ack=True)
        yield
        await queue.cancel(tag)
