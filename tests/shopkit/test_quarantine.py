"""Tests of the quarantine: a message that crashes the process that handles it.

The process is tests/shopkit/frail_consumer.py, started again after each crash.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gozon.topology import ORDER_CREATED
from shopkit.messaging.consumer import QUARANTINE_REDELIVERIES
from shopkit.messaging.topology import ISOLATED_CRASH_LIMIT
from tests.servers import Broker
from tests.shopkit.frail_consumer import POISON
from tests.support import Replica, eventually

KEY = ORDER_CREATED.routing_keys[0]


class SupervisedConsumer:
    """A consumer process that is started again after each crash. POISON crashes it only after `permit_crashes`."""

    def __init__(self, broker_url: str, folder: Path) -> None:
        self._handled = folder / "handled"
        self._handled.touch()
        self._permit = folder / "permit"
        settings = {"BROKER_URL": broker_url, "HANDLED": str(self._handled), "PERMIT": str(self._permit)}
        self._replica = Replica("tests.shopkit.frail_consumer", settings, folder / "frail.log")
        self.crashes = 0

    def permit_crashes(self) -> None:
        self._permit.touch()

    def forbid_crashes(self) -> None:
        self._permit.unlink()

    async def run(self) -> None:
        try:
            while True:
                await self._replica.start()
                assert self._replica.process is not None
                assert await self._replica.process.wait() == -signal.SIGKILL, self._replica.log()
                self.crashes += 1
        finally:
            await self._replica.stop()

    async def has_crashed(self, times: int) -> None:
        async def crashed() -> bool:
            return self.crashes >= times

        await eventually(crashed, 60)

    def handled(self) -> set[int]:
        return {int(line) for line in self._handled.read_text().splitlines()}

    async def has_handled(self, numbers: set[int]) -> None:
        async def are_handled() -> bool:
            return numbers <= self.handled()

        await eventually(are_handled, 60)


@asynccontextmanager
async def running_consumer(consumer: SupervisedConsumer) -> AsyncGenerator[None]:
    task = asyncio.create_task(consumer.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def consumer(broker_url: str, tmp_path: Path) -> SupervisedConsumer:
    return SupervisedConsumer(broker_url, tmp_path)


def message(*numbers: int) -> bytes:
    return b"[" + b",".join(b'{"n":%d}' % n for n in numbers) + b"]"


async def dead_letter(broker: Broker) -> bytes:
    async def has_arrived() -> bool:
        return await broker.ready_in(ORDER_CREATED.dead) > 0

    await eventually(has_arrived, 60)
    letter = await broker.take(ORDER_CREATED.dead)
    assert letter.headers["x-first-death-queue"] == ORDER_CREATED.quarantine
    assert letter.headers["x-first-death-reason"] == "delivery_limit"
    return letter.body


async def test_only_the_message_that_crashes_its_process_is_dead_lettered(
    broker: Broker, consumer: SupervisedConsumer
) -> None:
    others = set(range(40)) - {POISON}
    for n in range(40):
        await broker.publish_body(KEY, message(n))
    consumer.permit_crashes()
    async with running_consumer(consumer):
        assert await dead_letter(broker) == message(POISON)
        await consumer.has_handled(others)
    assert consumer.crashes == QUARANTINE_REDELIVERIES + ISOLATED_CRASH_LIMIT
    for queue in (ORDER_CREATED.name, ORDER_CREATED.quarantine, ORDER_CREATED.dead):
        assert await broker.left_in(queue) == 0
    assert POISON not in consumer.handled()


async def test_later_messages_do_not_wait_for_a_crashing_message(
    broker: Broker, consumer: SupervisedConsumer
) -> None:
    await broker.publish_body(KEY, message(POISON))
    consumer.permit_crashes()
    async with running_consumer(consumer):
        await consumer.has_crashed(QUARANTINE_REDELIVERIES)
        consumer.forbid_crashes()
        for n in range(100, 140):
            await broker.publish_body(KEY, message(n))
        await consumer.has_handled(set(range(100, 140)))
        assert await broker.ready_in(ORDER_CREATED.dead) == 0
        consumer.permit_crashes()
        assert await dead_letter(broker) == message(POISON)


async def test_only_the_culprit_of_a_message_with_many_events_is_dead_lettered(
    broker: Broker, consumer: SupervisedConsumer
) -> None:
    others = set(range(40)) - {POISON}
    await broker.publish_body(KEY, message(*range(20)))
    await broker.publish_body(KEY, message(*range(20, 40)))
    consumer.permit_crashes()
    async with running_consumer(consumer):
        assert await dead_letter(broker) == message(POISON)
        await consumer.has_handled(others)
    assert consumer.crashes == QUARANTINE_REDELIVERIES + 1 + ISOLATED_CRASH_LIMIT
    for queue in (ORDER_CREATED.name, ORDER_CREATED.quarantine, ORDER_CREATED.dead):
        assert await broker.left_in(queue) == 0
