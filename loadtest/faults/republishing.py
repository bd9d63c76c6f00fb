"""Publishes copies of the events that services publish, which it reads from RabbitMQ's firehose."""

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

MAX_COPIES = 5
MAX_DELAY_SECONDS = 2.0
SENDING_SECONDS = 60
QUEUES = frozenset(queue.name for queue in TOPOLOGY)
COPY_HEADER = {"x-copy": True}


class Copier:
    """Publishes the events of each message again, one to MAX_COPIES times, shuffled and split into two messages.

    With `reminding`, a copy of order.created has a new event id, like the reminders of the reconciler.
    """

    def __init__(self, channel: AbstractChannel, random: Random, *, reminding: bool) -> None:
        self.made = 0
        self._channel = channel
        self._random = random
        self._reminding = reminding
        self.sending: set[asyncio.Task[None]] = set()

    def copy(self, message: PublishedMessage) -> None:
        reminding = self._reminding and message.queue == ORDER_CREATED.name
        for _ in range(self._random.randint(1, MAX_COPIES)):
            events = decode_batch(message.body)
            self._random.shuffle(events)
            if reminding:
                events = [_reminder(event) for event in events]
            self.sending.add(asyncio.create_task(self._send(message.queue, events)))

    async def _send(self, queue: str, events: list[bytes]) -> None:
        await asyncio.sleep(self._random.uniform(0, MAX_DELAY_SECONDS))
        middle = self._random.randint(0, len(events))
        for part in (events[middle:], events[:middle]):
            if part:
                await send(self._channel, queue, encode_batch(part))
                self.made += len(part)


class Record:
    """The bodies of the messages that services published to `queue` until `close` was called."""

    def __init__(self, queue: str) -> None:
        self.bodies: list[bytes] = []
        self._queue = queue
        self._closed = False

    def keep(self, message: PublishedMessage) -> None:
        if message.queue == self._queue and not self._closed:
            self.bodies.append(message.body)

    def close(self) -> None:
        """Keeps no further message: later ones are returned, and their publishers must send them again."""
        self._closed = True


def _reminder(event: bytes) -> bytes:
    reminder: dict[str, Any] = json.loads(event) | {"id": str(uuid4())}
    return json.dumps(reminder).encode()


async def send(channel: AbstractChannel, queue: str, body: bytes) -> None:
    await channel.default_exchange.publish(persistent(body, headers=COPY_HEADER), queue)


@asynccontextmanager
async def publishing_copies(
    shop: ShopUnderFaults, random: Random, *, reminding: bool = False
) -> AsyncGenerator[Copier]:
    """Publishes copies of all events while the block runs."""
    async with await aio_pika.connect(shop.at["broker"], timeout=10) as connection:
        channel = await connection.channel(publisher_confirms=True)
        copier = Copier(channel, random, reminding=reminding)
        async with _reading_firehose(shop, channel, copier.copy):
            yield copier
        async with asyncio.timeout(SENDING_SECONDS):
            await asyncio.gather(*copier.sending)


@asynccontextmanager
async def republishing_at_end(shop: ShopUnderFaults, queue: str) -> AsyncGenerator[Record]:
    """Records the messages to `queue` while the block runs, and publishes them again after it."""
    async with await aio_pika.connect(shop.at["broker"], timeout=10) as connection:
        channel = await connection.channel(publisher_confirms=True)
        record = Record(queue)
        try:
            async with _reading_firehose(shop, channel, record.keep):
                yield record
        finally:
            await TOPOLOGY.declare(channel)
            for body in record.bodies:
                await send(channel, queue, body)


@asynccontextmanager
async def _reading_firehose(
    shop: ShopUnderFaults, channel: AbstractChannel, read: Callable[[PublishedMessage], None]
) -> AsyncGenerator[None]:
    """Calls `read` with each message that a service publishes to a queue of the topology."""

    async def trace(on: bool) -> None:
        await shop.stores.broker("PUT", "vhosts/%2F", {"tracing": on})

    async def on_message(copy: AbstractIncomingMessage) -> None:
        message = published(copy)
        if message.queue in QUEUES and "x-copy" not in message.properties["headers"]:
            read(message)

    async with firehose(channel, trace) as queue:
        tag = await queue.consume(on_message, no_ack=True)
        yield
        await queue.cancel(tag)
