"""The topology: the queues of all consumers, and their declaration in RabbitMQ."""

from typing import Any, NamedTuple

from aio_pika.abc import AbstractChannel, AbstractQueue

DEAD_LETTERS = "gozon.dead-letters"
RESOLVED = "gozon.dead-letters.resolved"
DELIVERY_LIMIT = 20
# Crashes in quarantine after which RabbitMQ dead-letters a message.
ISOLATED_CRASH_LIMIT = 3
# For queues that operators read: to read a message is to take and return it, which counts as a delivery. Without a
# limit in the declaration, RabbitMQ 4 drops a message after 20. It takes -1 for "no limit", but RabbitMQ 3.10 then
# drops a message after the first return.
PRACTICALLY_UNLIMITED = 1_000_000
RESOLVED_KEPT_MS = 90 * 24 * 3600 * 1000


class Queue(NamedTuple):
    """The queue of one consumer. Each event whose type is one of `routing_keys` is published to it."""

    name: str
    routing_keys: tuple[str, ...]

    @property
    def quarantine(self) -> str:
        """The name of the queue for messages that were redelivered repeatedly. They are handled one by one."""
        return f"{self.name}.alone"

    @property
    def dead(self) -> str:
        """The name of the queue for the dead letters of this queue."""
        return f"{self.name}.dead"


class Topology(tuple[Queue, ...]):
    """The queues of all consumers."""

    __slots__ = ()

    def queues_of(self, routing_key: str) -> list[str]:
        """Returns the names of all queues that take events of this type."""
        return [queue.name for queue in self if routing_key in queue.routing_keys]

    async def declare(self, channel: AbstractChannel) -> None:
        """Declares all queues. Every service does this, so events can be published before their consumer starts.

        Events need no exchange of our own: in the default exchange, each queue is bound by its name while it
        exists.
        """
        dead = await channel.declare_exchange(DEAD_LETTERS, "direct", durable=True)
        read_by_operators = {"x-delivery-limit": PRACTICALLY_UNLIMITED}
        await _quorum(channel, RESOLVED, read_by_operators | {"x-message-ttl": RESOLVED_KEPT_MS})
        for queue in self:
            dead_letters = await _quorum(channel, queue.dead, read_by_operators)
            await dead_letters.bind(dead, queue.name)
            # RabbitMQ dead-letters a message when it was redelivered more often than the limit, so after limit + 1
            # crashes.
            await _quorum(channel, queue.quarantine, _consumed(queue, ISOLATED_CRASH_LIMIT - 1))
            await _quorum(channel, queue.name, _consumed(queue, DELIVERY_LIMIT))


def _consumed(queue: Queue, delivery_limit: int) -> dict[str, Any]:
    return {
        "x-delivery-limit": delivery_limit,
        "x-dead-letter-exchange": DEAD_LETTERS,
        "x-dead-letter-routing-key": queue.name,
        # A message leaves its queue only after the queue of dead letters has it. This strategy needs
        # reject-publish.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


async def _quorum(channel: AbstractChannel, name: str, arguments: dict[str, Any]) -> AbstractQueue:
    return await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum", **arguments})
