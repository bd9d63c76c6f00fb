import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPConnectionError, ChannelInvalidStateError

from gozon.topology import TOPOLOGY
from shopkit.messaging import broker as shop_broker
from shopkit.messaging.broker import RabbitMQ, Session
from shopkit.messaging.topology import Topology
from tests.conftest import Spawn
from tests.servers import Broker, Forwarder, running
from tests.support import Caller, eventually

LOST = [
    AMQPConnectionError("closed"),
    ChannelInvalidStateError(),
    ConnectionResetError(),
    asyncio.InvalidStateError(),
    TimeoutError(),
    # aiormq raises these two as well: it cancels the futures of a stuck connection, and it raises a bare Exception
    # when the broker closes the connection during a write.
    asyncio.CancelledError(),
    Exception(),
]


def failing_once(error: BaseException, succeeded: asyncio.Event) -> Callable[[AbstractChannel], Awaitable[None]]:
    """Returns work that raises `error` on the first channel and sets `succeeded` on the second."""
    channels: list[AbstractChannel] = []

    async def work(channel: AbstractChannel) -> None:
        channels.append(channel)
        if len(channels) == 1:
            raise error
        succeeded.set()

    return work


@pytest.mark.parametrize("error", LOST, ids=repr)
async def test_a_lost_session_reconnects(broker_url: str, error: BaseException) -> None:
    opened_again = asyncio.Event()
    async with running(Session(RabbitMQ(broker_url, TOPOLOGY), "test", failing_once(error, opened_again))):
        await asyncio.wait_for(opened_again.wait(), 10)


async def test_a_replica_keeps_running_when_a_proxy_closes_each_broker_connection(
    spawn: Spawn, orders_url: str, session: aiohttp.ClientSession
) -> None:
    """Under uvloop, which services use, the library then raises an error that is not one of its own."""
    connections: list[asyncio.StreamWriter] = []

    def close_connection(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        writer.close()

    async def reconnected_often() -> bool:
        return len(connections) >= 12

    async with await asyncio.start_server(close_connection, "127.0.0.1") as proxy:
        port = proxy.sockets[0].getsockname()[1]
        settings = {"BROKER_URL": f"amqp://nobody@127.0.0.1:{port}/", "DATABASE_URL": orders_url}
        replica = await spawn("orders", wait=False, **settings)
        await eventually(reconnected_often)
        assert replica.running, replica.log()
        await Caller(session, replica.url).order(100)


@pytest.mark.parametrize("error", [ValueError("ours"), RuntimeError("ours")], ids=repr)
async def test_an_error_that_is_not_of_the_broker_ends_the_session(broker_url: str, error: Exception) -> None:
    with pytest.raises(type(error), match="ours"):
        await asyncio.wait_for(
            Session(RabbitMQ(broker_url, TOPOLOGY), "test", failing_once(error, asyncio.Event())).run(), 10
        )


async def test_a_cancelled_session_ends(broker_url: str) -> None:
    working = asyncio.Event()

    async def work(_: AbstractChannel) -> None:
        working.set()
        await asyncio.Event().wait()

    session = asyncio.create_task(Session(RabbitMQ(broker_url, TOPOLOGY), "test", work).run())
    await working.wait()
    session.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(session, 10)


async def test_a_session_reconnects_when_the_broker_freezes_during_its_start(
    broker: Broker, broker_url: str, way_to: Callable[[str], Forwarder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop_broker, "HEARTBEAT", 1)
    way = way_to(broker_url)
    await way.open()
    froze, opened = asyncio.Event(), asyncio.Event()

    class FreezesOnce(Topology):
        async def declare(self, channel: AbstractChannel) -> None:
            if froze.is_set():
                return await super().declare(channel)
            froze.set()
            way.hold()
            try:
                await super().declare(channel)
            finally:
                await way.cut()
                await way.open()

    async def work(_: AbstractChannel) -> None:
        opened.set()

    async with running(Session(RabbitMQ(way.url, FreezesOnce(TOPOLOGY)), "test", work)):
        await asyncio.wait_for(opened.wait(), 30)


async def test_the_first_session_declares_all_queues(broker: Broker) -> None:
    for queue in TOPOLOGY:
        assert await broker.ready_in(queue.name) == 0
        assert await broker.ready_in(queue.quarantine) == await broker.ready_in(queue.dead) == 0
        for key in queue.routing_keys:
            await broker.publish_body(key, b"[]")  # raises when no queue takes it
    await TOPOLOGY.declare(broker.channel)
