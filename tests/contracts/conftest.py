import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import aio_pika
import aiohttp
import pytest

from gozon.topology import TOPOLOGY
from loadtest.faults.firehose import PublishedMessage, firehose, published
from tests.conftest import Spawn
from tests.support import Caller, Replica, Socket, eventually, free_port

ORIGIN = "http://shop.test"


class Overheard:
    """The messages that are published to the queues of consumers, read from RabbitMQ's firehose."""

    def __init__(self, copies: aio_pika.abc.AbstractQueue) -> None:
        self._copies = copies

    async def next(self) -> PublishedMessage | None:
        while copy := await self._copies.get(no_ack=True, fail=False):
            message = published(copy)
            if message.queue in {queue.name for queue in TOPOLOGY}:
                return message
        return None


@asynccontextmanager
async def overhearing(
    broker_url: str, servers: dict[str, Any], session: aiohttp.ClientSession
) -> AsyncGenerator[Overheard]:
    vhost = quote(urlsplit(broker_url).path[1:] or "/", safe="")

    async def trace(on: bool) -> None:
        url = f"{servers['broker_management']}/api/vhosts/{vhost}"
        async with session.put(url, json={"tracing": on}) as response:
            response.raise_for_status()

    async with (
        await aio_pika.connect(broker_url) as connection,
        firehose(await connection.channel(), trace) as copies,
    ):
        yield Overheard(copies)


class Chain:
    """A gateway, orders, payments and a notifier of this test only, and all events that they publish."""

    def __init__(self, replicas: list[Replica], session: aiohttp.ClientSession, overheard: Overheard) -> None:
        self.gateway, self.orders, self.payments, self.notifier = self.replicas = replicas
        self._session = session
        self._overheard = overheard
        self._events: list[dict[str, Any]] = []

    def caller(self) -> Caller:
        return Caller(self._session, self.gateway.url)

    async def socket(self, caller: Caller) -> Socket:
        return await caller.socket(self.notifier.url, origin=ORIGIN)

    async def place(self, caller: Caller, amount: int = 100, **headers: str) -> str:
        answer = await caller.call("POST", "/api/orders", {"amount": amount, "description": "a lamp"}, **headers)
        assert answer.status == 201
        return answer.body["id"]

    async def events(self, order_id: str, count: int = 3) -> list[dict[str, Any]]:
        """The first `count` events of the order, in the order in which they were published."""

        async def heard() -> list[dict[str, Any]] | None:
            while message := await self._overheard.next():
                self._events += json.loads(message.body)
            events = [event for event in self._events if event["subject"] == order_id]
            return events if len(events) >= count else None

        return await eventually(heard) or []

    async def stop(self) -> None:
        """Stops the replicas in the direction of an order, so that each has finished its work before it stops."""
        for replica in self.replicas:
            await replica.stop()

    def lines(self, **wanted: str) -> list[dict[str, Any]]:
        """Returns the log lines of all replicas that have the fields `wanted`."""
        written = "\n".join(replica.log() for replica in self.replicas).splitlines()
        lines = [json.loads(line) for line in written if line.startswith("{")]
        return [line for line in lines if wanted.items() <= line.items()]


MakeChain = Callable[..., Awaitable[Chain]]


@pytest.fixture
async def make_chain(
    spawn: Spawn,
    servers: dict[str, Any],
    session: aiohttp.ClientSession,
    orders_url: str,
    payments_url: str,
    broker_url: str,
) -> AsyncGenerator[MakeChain]:
    """`await make_chain(LOG_LEVEL="DEBUG")` starts a Chain with these settings."""
    chains = AsyncExitStack()

    async def make(**settings: str) -> Chain:
        overheard = await chains.enter_async_context(overhearing(broker_url, servers, session))
        orders, payments, notifier = await asyncio.gather(
            spawn("orders", DATABASE_URL=orders_url, BROKER_URL=broker_url, **settings),
            spawn("payments", DATABASE_URL=payments_url, BROKER_URL=broker_url, **settings),
            spawn(
                "notifier",
                BROKER_URL=broker_url,
                REDIS_URL=servers["redis"],
                ALLOWED_ORIGINS=ORIGIN,
                **settings,
            ),
        )
        gateway = await spawn(
            "gateway",
            ORDERS_URLS=orders.url,
            PAYMENTS_URLS=payments.url,
            NOTIFIER_URLS=notifier.url,
            WEB_URLS=f"http://127.0.0.1:{free_port()}",
            wait=False,
            **settings,
        )

        async def listens() -> bool:
            return (await gateway.readiness(session))[0] != 0

        await eventually(listens)
        return Chain([gateway, orders, payments, notifier], session, overheard)

    async with chains:
        yield make
