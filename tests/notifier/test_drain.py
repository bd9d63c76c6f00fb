"""A replica that is stopped closes its sockets in batches first, and its clients reconnect to other replicas."""

import asyncio
import json
import signal
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from notifier.close_codes import RETRY_AFTER_MS, Close
from notifier.hub import DRAIN_BATCH_SIZE, DRAIN_PAUSE_SECONDS
from notifier.streams import sockets_key
from shopkit.web.service import STOP_SECONDS
from tests.conftest import Spawn
from tests.notifier.push_events import ORIGIN, publish, status_event
from tests.servers import Broker, Forwarder
from tests.support import Caller, eventually

EXIT_CODES = (0, -signal.SIGTERM)  # uvicorn raises the signal again after its shutdown


@pytest.fixture
def settings(servers: dict[str, Any], broker_url: str) -> dict[str, str]:
    return {"BROKER_URL": broker_url, "REDIS_URL": servers["redis"], "ALLOWED_ORIGINS": ORIGIN}


def retry_after(connection: ClientConnection) -> int:
    assert connection.close_code == Close.RESTARTING
    return json.loads(connection.close_reason or "")["retry_after_ms"]


async def closed_at(connection: ClientConnection) -> float:
    await connection.wait_closed()
    return time.monotonic()


async def test_a_stopping_replica_closes_its_sockets_and_refuses_new_ones(
    spawn: Spawn, settings: dict[str, str], session: aiohttp.ClientSession, redis: Redis
) -> None:
    ending, other = await asyncio.gather(spawn("notifier", **settings), spawn("notifier", **settings))
    callers = [Caller(session, ending.url) for _ in range(30)]
    sockets = await asyncio.gather(*(caller.socket(origin=ORIGIN) for caller in callers for _ in range(9)))
    stays = await callers[0].socket(other.url, origin=ORIGIN)
    newcomer = Caller(session, other.url)
    ticket = await newcomer.ticket()
    closing = [asyncio.create_task(closed_at(socket.connection)) for socket in sockets]

    assert ending.process is not None
    ending.process.terminate()

    async def not_ready_but_still_listening() -> bool:
        return (await ending.readiness(session))[0] == 503

    await eventually(not_ready_but_still_listening)
    with pytest.raises(InvalidStatus) as refusal:
        await newcomer.connect(ending.url, origin=ORIGIN, ticket=ticket)
    assert refusal.value.response.status_code == 503
    assert not all(task.done() for task in closing), (
        "the drain was over before the refusal, so this test proves nothing"
    )
    welcomed = await newcomer.connect(other.url, origin=ORIGIN, ticket=ticket)
    assert json.loads(await welcomed.recv())["replica"] == other.name

    times = sorted(await asyncio.gather(*closing))
    delays = [retry_after(socket.connection) for socket in sockets]
    assert all(RETRY_AFTER_MS[0] <= delay <= RETRY_AFTER_MS[1] for delay in delays)
    assert len(set(delays)) > len(delays) / 2, "all clients would reconnect at the same time"
    batches = len(sockets) // DRAIN_BATCH_SIZE
    assert times[-1] - times[0] >= (batches - 1) * DRAIN_PAUSE_SECONDS / 2, "the sockets were closed without pauses"
    assert times[len(times) // 2] - times[0] >= (batches - 1) * DRAIN_PAUSE_SECONDS / 5, (
        "most sockets were closed without pauses"
    )

    assert await asyncio.wait_for(ending.process.wait(), 30) in EXIT_CODES
    registered = [await redis.zcard(sockets_key(caller.user_id)) for caller in callers]
    assert registered == [1] + [0] * (len(callers) - 1), "only the socket on the other replica is registered"
    await stays.close()


async def test_a_client_that_reads_nothing_does_not_delay_the_stop(
    spawn: Spawn, settings: dict[str, str], session: aiohttp.ClientSession, broker: Broker
) -> None:
    replica = await spawn("notifier", **settings)
    caller = Caller(session, replica.url)
    stuck, lively = await caller.socket(origin=ORIGIN), await caller.socket(origin=ORIGIN)
    stuck.connection.transport.pause_reading()
    for _ in range(9):  # together more than the buffers of both sides hold
        await publish(broker, [status_event(caller.user_id, description="x" * 60_000) for _ in range(10)])
    for _ in range(90):
        await lively.next_order()
    assert await replica.metric(session, "gozon_sockets_behind_total") >= 1, "the socket is not stuck"

    began = time.monotonic()
    assert await replica.stop() in EXIT_CODES
    assert time.monotonic() - began < STOP_SECONDS * 0.8
    stuck.connection.transport.abort()


async def test_a_client_that_joins_when_the_drain_begins_is_closed_with_a_retry_delay(
    spawn: Spawn,
    settings: dict[str, str],
    session: aiohttp.ClientSession,
    servers: dict[str, Any],
    way_to: Callable[[str], Forwarder],
) -> None:
    way = way_to(servers["redis"])
    await way.open()
    replica = await spawn("notifier", **settings | {"REDIS_URL": way.url})
    caller = Caller(session, replica.url)
    ticket = await caller.ticket()
    way.hold()
    connection = await caller.connect(
        origin=ORIGIN, ticket=ticket
    )  # its ticket is not redeemed yet, as Redis is not reachable
    ending = asyncio.create_task(replica.stop())
    await connection.wait_closed()
    assert RETRY_AFTER_MS[0] <= retry_after(connection) <= RETRY_AFTER_MS[1]
    await way.cut()
    assert await ending in EXIT_CODES
