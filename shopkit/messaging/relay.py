"""Hops 3, 6 and 8: outbox -> RabbitMQ, at least once.

Rows are deleted, published, and the delete commits after the broker has confirmed every message. Any
failure rolls the delete back. A crash between confirm and commit publishes again: consumers expect that.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping

import structlog

from shopkit.db.database import Database
from shopkit.messaging import event_log, journey, outbox
from shopkit.messaging.events import Outgoing, batches
from shopkit.messaging.low_water_mark import LowWaterMark
from shopkit.messaging.publisher import Publisher, all_confirmed
from shopkit.observability import tracing
from shopkit.observability.metrics import RELAY_FAILURES, RELAYED
from shopkit.runtime.retry import Backoff, BatchSize, Progress, first_of, is_transient, pause

RELAY_BATCH_SIZE = 500
RELAYED_STEP = "relayed"  # in the log, for an event whose hop has no name
POLL_SECONDS = 1.0

log = structlog.get_logger()


class Relay:
    """Woken in process after a commit; otherwise polls for what other replicas left behind.

    `hops` names, by routing key, the hop that relaying adds to the journey of an event.
    One pass is under way at a time: while it waits for the broker, events gather for the next.
    """

    def __init__(
        self, database: Database, publisher: Publisher, replica: str, hops: Mapping[str, str] | None = None
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._replica = replica
        self._hops = hops or {}
        self._mark = LowWaterMark()
        self._size = BatchSize(RELAY_BATCH_SIZE)
        self._progress = Progress()
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        """The pass under way finishes; what is left in the outbox is for the next process."""
        self._stopping.set()
        self.wake()

    async def check(self) -> None:
        """Raises Stalled while passes have failed for too long."""
        self._progress.check()

    async def run(self) -> None:
        if not await self._database.wait_migrated(self._stopping):
            return
        backoff = Backoff()
        while not self._stopping.is_set():
            self._wake.clear()
            self._progress.begin()
            limit = self._size.limit
            try:
                count = await self.relay_once()
            except Exception as error:
                if not is_transient(error):
                    raise
                RELAY_FAILURES.inc()
                log.warning("relay pass rolled back", error=repr(error))
                await self._pause(backoff.next())
                continue
            self._progress.done()
            backoff.reset()
            if count < limit:
                await pause(self._wake, POLL_SECONDS)

    async def relay_once(self) -> int:
        """One pass; returns how many events it relayed. Raises NotPublished with nothing removed."""
        taken: list[Outgoing] = []
        with self._size.observing(taken):
            async with self._database.begin() as connection:
                taken += await outbox.take(connection, self._size.limit, self._mark)
                if taken:
                    await self._publish(taken)
        self._mark.committed()
        if taken:
            self._report(taken)
        return len(taken)

    def _report(self, taken: list[Outgoing]) -> None:
        for routing_key, count in Counter(event.routing_key for event in taken).items():
            RELAYED.labels(routing_key).inc(count)
            step = self._hops.get(routing_key, RELAYED_STEP)
            event_log.each(step, (event.event for event in taken if event.routing_key == routing_key))

    async def _publish(self, taken: list[Outgoing]) -> None:
        with tracing.batch("relay", (tracing.of_event(event.event) for event in taken)):
            # The transaction must not end while a message is still on its way.
            await all_confirmed(
                self._publisher.publish(routing_key, self._stamped(routing_key, events))
                for routing_key, events in batches(taken)
            )

    def _stamped(self, routing_key: str, events: list[bytes]) -> list[bytes]:
        if routing_key not in self._hops:
            return events
        hop = journey.encode_hop(journey.now(self._hops[routing_key], self._replica))
        return [journey.extend(event, hop) for event in events]

    async def _pause(self, seconds: float) -> None:
        """Not longer than until the broker is back, where that was the reason."""
        back = [] if self._publisher.connected.is_set() else [self._publisher.connected]
        await first_of(self._stopping, *back, seconds=seconds)
