"""RabbitMQ's firehose: a copy of each message that is published.

Events go to queues through the default exchange, and RabbitMQ binds no further queue to it.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue


class PublishedMessage(NamedTuple):
    """A published message.

    `queue` is its routing key. The firehose does not say whether a queue of this name existed.
    `properties` holds the AMQP properties that are set, including the headers.
    """

    queue: str
    body: bytes
    properties: dict[str, Any]


def published(copy: AbstractIncomingMessage) -> PublishedMessage:
    """Returns the message whose copy the firehose delivered."""
    about: dict[str, Any] = dict(copy.headers)
    (queue,) = about["routing_keys"]
    return PublishedMessage(queue, copy.body, about["properties"])


@asynccontextmanager
async def firehose(
    channel: AbstractChannel, trace: Callable[[bool], Awaitable[None]]
) -> AsyncGenerator[AbstractQueue]:
    """Yields a queue of copies; `published` decodes each. `trace` switches the tracing of the virtual host."""
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind("amq.rabbitmq.trace", "publish.#")
    await trace(True)
    try:
        yield queue
    finally:
        await trace(False)
        await queue.delete(if_unused=False, if_empty=False)
