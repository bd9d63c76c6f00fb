"""A consumer that crashes on one message: `python -m tests.shopkit.frail_consumer`.

It appends the numbers that it handles to a file. After SIGTERM it acknowledges the handled messages and ends. The
number POISON kills the process, but not before the file PERMIT exists.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gozon.topology import ORDER_CREATED, TOPOLOGY
from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.consumer import Consumer
from shopkit.messaging.publisher import Publisher
from shopkit.runtime.settings import Settings, load

POISON = 13


class Number(msgspec.Struct, frozen=True):
    n: int


class FrailSettings(Settings, frozen=True, kw_only=True):
    broker_url: str
    handled: str
    permit: str


class Handler:
    def __init__(self, handled: Path, permit: Path) -> None:
        self._handled = handled
        self._permit = permit

    async def __call__(self, numbers: Sequence[Number]) -> None:
        if any(number.n == POISON for number in numbers):
            while not self._permit.exists():
                await asyncio.sleep(0.02)
            os.kill(os.getpid(), signal.SIGKILL)
        self._record(numbers)

    def _record(self, numbers: Sequence[Number]) -> None:
        with self._handled.open("a") as handled:
            handled.write("".join(f"{number.n}\n" for number in numbers))


async def consume(settings: FrailSettings) -> None:
    handle = Handler(Path(settings.handled), Path(settings.permit))
    publisher = Publisher(RabbitMQ(settings.broker_url, TOPOLOGY), settings.replica)
    decode = msgspec.json.Decoder(Number).decode
    consumer = Consumer(
        RabbitMQ(settings.broker_url, TOPOLOGY), settings.replica, ORDER_CREATED, decode, handle, publisher
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
    publishing = asyncio.create_task(publisher.run())
    await consumer.run()
    publisher.stop()
    await publishing


if __name__ == "__main__":
    asyncio.run(consume(load(FrailSettings)))
