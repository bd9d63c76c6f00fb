"""The topology: the queues of each consumer, and how RabbitMQ declares them."""

from typing import Any, NamedTuple

from aio_pika.abc import AbstractChannel, AbstractQueue

DEAD_LETTERS = "gozon.dead-letters"
RESOLVED = "gozon.dead-letters.resolved"
DELIVERY_LIMIT = 20
LONELY_CRASHES = 3
# Looking at a message returns it, and that counts. RabbitMQ 4 drops after 20 when it is not told another
# number, and -1, which it takes for "no limit", makes 3.10 drop after the first look.
PRACTICALLY_UNLIMITED = 1_000_000
RESOLVED_KEPT_MS = 90 * 24 * 3600 * 1000


class Queue(NamedTuple):
    """A queue of a consumer. Each event whose type is one of `routing_keys` is published to it."""

    name: str
    routing_keys: tuple[str, ...]

    @property
    def alone(self) -> str:
        """Where those of its messages are handled one by one that came back more than once."""
        return f"{self.name}.alone"

    @property
    def dead(self) -> str:
        """The queue of this queue's dead letters."""
        return f"{self.name}.dead"


class Topology(tuple[Queue, ...]):
    """The queues of all consumers."""

    __slots__ = ()

    def queues_of(self, routing_key: str) -> list[str]:
        """Returns the names of all queues that must have an event of this type."""
        return [queue.name for queue in self if routing_key in queue.routing_keys]

    async def declare(self, channel: AbstractChannel) -> None:
        """Every service declares everything, so that nothing published before a consumer's first start vanishes.

        Events need no exchange of ours: in the default exchange, each queue is bound by its name while it exists.
        """
        dead = await channel.declare_exchange(DEAD_LETTERS, "direct", durable=True)
        looked_at = {"x-delivery-limit": PRACTICALLY_UNLIMITED}
        await _quorum(channel, RESOLVED, looked_at | {"x-message-ttl": RESOLVED_KEPT_MS})
        for queue in self:
            graveyard = await _quorum(channel, queue.dead, looked_at)
            await graveyard.bind(dead, queue.name)
            # The broker gives a message up when it was returned more often than the limit.
            await _quorum(channel, queue.alone, _consumed(queue, LONELY_CRASHES - 1))
            await _quorum(channel, queue.name, _consumed(queue, DELIVERY_LIMIT))


def _consumed(queue: Queue, delivery_limit: int) -> dict[str, Any]:
    return {
        "x-delivery-limit": delivery_limit,
        "x-dead-letter-exchange": DEAD_LETTERS,
        "x-dead-letter-routing-key": queue.name,
        # A dead letter leaves its queue only when the other queue has it; this needs reject-publish.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


async def _quorum(channel: AbstractChannel, name: str, arguments: dict[str, Any]) -> AbstractQueue:
    return await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum", **arguments})
