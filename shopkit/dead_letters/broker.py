"""The dead letters of the broker.

A command reads letters by taking them without an acknowledgement. While it holds a letter, RabbitMQ delivers it to
no other command, so two commands cannot resolve the same letter. When the channel closes, RabbitMQ returns all
unacknowledged letters to their places in the queue, also if the command crashes.
"""

import hashlib
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from shopkit.dead_letters.letter import Letter, LetterFilter, Resolution, UsageError, summaries
from shopkit.messaging.broker import HEARTBEAT, BrokerUnavailable, RabbitMQ, translate_broker_errors
from shopkit.messaging.delivery import Delivery
from shopkit.messaging.publisher import CONFIRM_TIMEOUT, persistent
from shopkit.messaging.topology import RESOLVED, Queue
from shopkit.runtime.hosts import host_urls

# Letters of one queue that a command holds.
HELD_LETTERS_LIMIT = 5_000


class BrokerLetters:
    """The dead letters of `queues`. `publishing` is a channel with confirms."""

    def __init__(
        self, connection: AbstractConnection, publishing: AbstractChannel, queues: Sequence[Queue]
    ) -> None:
        self._queues = queues
        self._connection = connection
        self._publishing = publishing
        self._held: dict[str, Delivery] = {}

    async def read(self, wanted: LetterFilter, *, resolved: bool) -> AsyncGenerator[Letter]:
        async with self._connection.channel() as channel:
            if resolved:
                async for message in _read_queue(channel, RESOLVED):
                    yield _resolved_letter(message)
                return
            for queue in self._queues:
                if not wanted.can_match(queue.name):
                    continue
                async for message in _read_queue(channel, queue.dead):
                    letter = _letter(queue.name, message)
                    self._held[letter.id] = message
                    yield letter

    async def resolve(self, letter: Letter, resolution: Resolution) -> bool:
        """Replays the letter if `resolution` says so, stores a record of it, and removes it, in this order.

        After a crash between the steps, the next command repeats them. A replayed letter can therefore arrive
        twice, which consumers accept. Always returns True, because no other command can hold the letter.
        """
        message = self._held[letter.id]
        if resolution.what == "replayed":
            await self._publish(letter.queue, persistent(letter.body))
        await self._publish(RESOLVED, _record(letter, resolution))
        await message.ack()
        return True

    async def _publish(self, queue: str, message: aio_pika.Message) -> None:
        exchange = self._publishing.default_exchange
        await exchange.publish(message, queue, mandatory=True, timeout=CONFIRM_TIMEOUT)


@asynccontextmanager
async def opened(rabbitmq: RabbitMQ) -> AsyncGenerator[BrokerLetters]:
    """Connects to the first usable host. Raises UsageError if there is none."""
    try:
        connection = await _connected(rabbitmq.url)
    except (BrokerUnavailable, ValueError) as error:
        raise UsageError(f"cannot connect to the broker: {error}") from error
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await rabbitmq.topology.declare(channel)
        yield BrokerLetters(connection, channel, rabbitmq.topology)


async def _connected(url: str) -> AbstractConnection:
    *others, last = host_urls(url)
    for address in others:
        with suppress(BrokerUnavailable):
            return await _connect(address)
    return await _connect(last)


async def _connect(address: str) -> AbstractConnection:
    with translate_broker_errors():
        return await aio_pika.connect(
            address, timeout=5, heartbeat=HEARTBEAT, client_properties={"connection_name": "dead letters"}
        )


async def _read_queue(channel: AbstractChannel, name: str) -> AsyncGenerator[Delivery]:
    """Yields the messages that are in the queue now, without acknowledging them.

    A letter that is dead-lettered again while it is replayed is left for the next command.
    """
    queue = await channel.declare_queue(name, passive=True)
    count = queue.declaration_result.message_count or 0
    if count > HELD_LETTERS_LIMIT:
        print(f"{name}: reading only the oldest {HELD_LETTERS_LIMIT} of {count} letters", file=sys.stderr)
    underlay = await channel.get_underlay_channel()
    for _ in range(min(count, HELD_LETTERS_LIMIT)):
        found = await underlay.basic_get(name)
        if isinstance(found.delivery, Basic.GetEmpty):
            return
        yield Delivery(found)


def _letter(queue: str, message: Delivery) -> Letter:
    return Letter(
        id=f"{queue}/{message.message_id or hashlib.sha256(message.body).hexdigest()[:16]}",
        queue=queue,
        when=_when(message),
        reason=message.flaw or _reason(message.headers),
        body=message.body,
        events=summaries(message.body),
        headers=dict(message.headers),
    )


def _resolved_letter(message: Delivery) -> Letter:
    headers: dict[str, Any] = dict(message.headers)
    resolution = Resolution(headers["x-resolution"], headers["x-resolved-by"], headers.get("x-note"))
    resolved_at = datetime.fromisoformat(headers["x-resolved-at"])
    queue = headers["x-dead-queue"].removesuffix(".dead")
    return _letter(queue, message)._replace(resolved_at=resolved_at, resolution=str(resolution))


def _record(letter: Letter, resolution: Resolution) -> aio_pika.Message:
    headers = {
        "x-resolution": resolution.what,
        "x-resolved-by": resolution.by,
        "x-resolved-at": datetime.now(UTC).isoformat(),
        "x-note": resolution.note,
        "x-dead-queue": f"{letter.queue}.dead",
        "x-reason": letter.reason,
    }
    message_id = letter.id.removeprefix(f"{letter.queue}/")
    return persistent(letter.body, headers=headers, message_id=message_id, timestamp=letter.when)


def _deaths(headers: dict[str, Any]) -> list[dict[str, Any]]:
    return headers.get("x-death") or []


def _when(message: Delivery) -> datetime | None:
    """Returns the time at which the message was dead-lettered, or None if the message has none."""
    for death in _deaths(dict(message.headers)):
        return death["time"]
    return message.timestamp


def _reason(headers: Any) -> str:
    if "x-reason" in headers:
        return str(headers["x-reason"])
    for death in _deaths(headers):
        return f"{death['reason']} in {death['queue']}"
    return "unknown"
