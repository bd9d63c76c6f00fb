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
    # aiormq raises these two as well: cancelled is what a stuck connection owed, and the bare one comes
    # when the broker hangs up in the midst of a write.
    asyncio.CancelledError(),
    Exception(),
]


def once_raising(error: BaseException, done: asyncio.Event) -> Callable[[AbstractChannel], Awaitable[None]]:
    """Work that fails the first time it is given a channel, and is content the second time."""
    channels: list[AbstractChannel] = []

    async def work(channel: AbstractChannel) -> None:
        channels.append(channel)
        if len(channels) == 1:
            raise error
        done.set()

    return work


@pytest.mark.parametrize("error", LOST, ids=repr)
async def test_a_session_that_was_lost_is_opened_again(broker_url: str, error: BaseException) -> None:
    opened_again = asyncio.Event()
    async with running(Session(RabbitMQ(broker_url, TOPOLOGY), "test", once_raising(error, opened_again))):
        await asyncio.wait_for(opened_again.wait(), 10)


async def test_a_replica_lives_on_while_a_proxy_hangs_up_in_the_place_of_the_broker(
    spawn: Spawn, orders_url: str, session: aiohttp.ClientSession
) -> None:
    """Under uvloop, as services run, the library then raises what nobody would take for a loss."""
    calls: list[asyncio.StreamWriter] = []

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(writer)
        writer.close()

    async def called_often() -> bool:
        return len(calls) >= 12

    async with await asyncio.start_server(hang_up, "127.0.0.1") as proxy:
        port = proxy.sockets[0].getsockname()[1]
        settings = {"BROKER_URL": f"amqp://nobody@127.0.0.1:{port}/", "DATABASE_URL": orders_url}
        replica = await spawn("orders", wait=False, **settings)
        await eventually(called_often)
        assert replica.running, replica.log()
        await Caller(session, replica.url).order(100)


@pytest.mark.parametrize("error", [ValueError("ours"), RuntimeError("ours")], ids=repr)
async def test_a_fault_of_our_own_ends_the_session(broker_url: str, error: Exception) -> None:
    with pytest.raises(type(error), match="ours"):
        await asyncio.wait_for(
            Session(RabbitMQ(broker_url, TOPOLOGY), "test", once_raising(error, asyncio.Event())).run(), 10
        )


async def test_a_session_that_somebody_cancels_ends(broker_url: str) -> None:
    working = asyncio.Event()

    async def work(_: AbstractChannel) -> None:
        working.set()
        await asyncio.Event().wait()

    session = asyncio.create_task(Session(RabbitMQ(broker_url, TOPOLOGY), "test", work).run())
    await working.wait()
    session.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(session, 10)


async def test_a_session_lives_on_when_the_broker_freezes_while_it_begins(
    broker: Broker, broker_url: str, way_to: Callable[[str], Forwarder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop_broker, "HEARTBEAT", 1)
    way = way_to(broker_url)
    await way.open()
    froze, opened = asyncio.Event(), asyncio.Event()

    class FirstFreezes(Topology):
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

    async with running(Session(RabbitMQ(way.url, FirstFreezes(TOPOLOGY)), "test", work)):
        await asyncio.wait_for(opened.wait(), 30)


async def test_everything_is_declared_by_whoever_comes_first(broker: Broker) -> None:
    for queue in TOPOLOGY:
        assert await broker.ready_in(queue.name) == 0
        assert await broker.ready_in(queue.quarantine) == await broker.ready_in(queue.dead) == 0
        for key in queue.routing_keys:
            await broker.publish_body(key, b"[]")  # raises when no queue takes it
    await TOPOLOGY.declare(broker.channel)
