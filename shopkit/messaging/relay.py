"""Hops 3, 6 and 8: the relay publishes the events of the outbox to RabbitMQ, at least once.

A pass of the relay is one transaction:

1. delete the oldest rows, which also locks them, and read their events;
2. publish the events, and wait until each queue of their types has confirmed them;
3. commit the delete.

So a row leaves the outbox only after the broker has its event. Any failure before the commit rolls the delete back,
and a later pass publishes the event again. If the relay crashes between the confirm and the commit, the event is
published twice. Consumers must therefore be idempotent. The order of events is not guaranteed: relays of several
replicas overlap, and a pass that was rolled back comes later.
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
RELAYED_STEP = "relayed"  # the step in the log for an event that is not in `hops`
POLL_SECONDS = 1.0

log = structlog.get_logger()


class Relay:
    """A worker that relays the outbox. It runs one pass at a time.

    `wake` starts a pass after a commit in this process. Between wake-ups the relay polls every POLL_SECONDS, which
    finds the events of replicas that crashed. While a pass waits for the broker, new events gather for the next
    one. `hops` maps a routing key to the hop that the relay adds to the journey of its events.
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
        """Starts the next pass without waiting for the poll."""
        self._wake.set()

    def stop(self) -> None:
        """Lets `run` return after the current pass. The remaining rows stay for another process."""
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
        """Runs one pass. Returns how many events it relayed. Raises NotPublished with the delete rolled back."""
        taken: list[Outgoing] = []
        with self._size.observing(taken):
            async with self._database.begin() as connection:
                taken += await outbox.take(connection, self._size.limit, self._mark)
                if taken:
                    await self._publish(taken)
        self._mark.on_committed()
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
            # Waits for every message, also after one has failed: the transaction must not end, and so release its
            # rows to other relays, while one of its messages is still in flight.
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
        """Waits `seconds`, but not longer than until `stop` or until a disconnected publisher has reconnected."""
        reconnected = [] if self._publisher.connected.is_set() else [self._publisher.connected]
        await first_of(self._stopping, *reconnected, seconds=seconds)
