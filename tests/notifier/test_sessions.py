"""Acknowledgements, renewal of the identity, eviction, presence, and every reason to close a socket."""

import asyncio
import json
import socket as sockets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.conftest import Spawn
from tests.notifier.push_events import ORIGIN, on, publish, status_event
from tests.servers import Broker, Forwarder
from tests.support import Caller, Replica, Socket, eventually


@pytest.fixture
async def two(spawn: Spawn, servers: dict[str, Any], broker_url: str) -> Callable[..., Any]:
    """`await two(...)` starts two replicas with the given settings."""

    async def start(**settings: str) -> list[Replica]:
        where = {"BROKER_URL": broker_url, "REDIS_URL": servers["redis"], "ALLOWED_ORIGINS": ORIGIN}
        return list(await asyncio.gather(*(spawn("notifier", **where, **settings) for _ in range(2))))

    return start


@pytest.fixture
async def replicas(two: Callable[..., Any]) -> list[Replica]:
    return await two()


async def closed(socket: Socket, seconds: float = 30) -> tuple[int | None, str | None]:
    """Waits for the close of the socket, and returns its code and reason."""
    with suppress(ConnectionClosed):
        async with asyncio.timeout(seconds):
            while True:
                await socket.connection.recv()
    return socket.connection.close_code, socket.connection.close_reason


async def ack(socket: Socket, offset: int) -> None:
    await socket.connection.send(json.dumps({"type": "ack", "o": offset}))


async def wait_until_acked(redis: Redis, caller: Caller, offset: int) -> None:
    async def is_stored() -> bool:
        return await redis.hget(f"n:{{{caller.user_id}}}:m", "acked") == str(offset).encode()

    await eventually(is_stored)


async def test_a_first_load_starts_after_the_highest_acknowledged_offset(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker, redis: Redis
) -> None:
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    events = [status_event(caller.user_id) for _ in range(3)]
    await publish(broker, events)
    offsets = [(await socket.next_order())["o"] for _ in events]
    await ack(socket, offsets[1])
    await wait_until_acked(redis, caller, offsets[1])
    await ack(socket, offsets[0])  # late, and cumulative
    await socket.close()

    back = await caller.socket(replicas[1].url, origin=ORIGIN)
    assert back.welcome["recovered"] is True
    assert [frame["id"] for frame in back.welcome["missed"]] == [str(events[2].id)]
    assert back.welcome["offset"] == offsets[2]
    again = await caller.socket(replicas[0].url, origin=ORIGIN)
    assert len(again.welcome["missed"]) == 1, "a welcome acknowledges nothing by itself"


async def test_events_after_the_first_visit_are_missed_events_even_without_any_acknowledgement(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    caller = on(replicas[0], session)
    before, after = status_event(caller.user_id), status_event(caller.user_id)
    await publish(broker, [before])

    async def first_visit_after_it() -> dict[str, Any] | None:
        visit = await caller.socket(origin=ORIGIN)
        await visit.close()
        return visit.welcome if visit.welcome["offset"] else None

    welcome = await eventually(first_visit_after_it)
    assert welcome is not None
    await publish(broker, [after])

    async def missed() -> list[str]:
        back = await caller.socket(replicas[1].url, origin=ORIGIN)
        await back.close()
        return [frame["id"] for frame in back.welcome["missed"]]

    assert (await eventually(missed))[-1] == str(after.id)


async def test_events_after_redis_lost_all_positions_are_missed_events_of_the_next_first_load(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker, redis: Redis
) -> None:
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    await redis.delete(f"n:{{{caller.user_id}}}:m", f"n:{{{caller.user_id}}}:s")
    await redis.client_kill_filter(_type="pubsub")
    assert (await next_frame(socket, "welcome"))["recovered"] is False
    await socket.close()
    event = status_event(caller.user_id)
    await publish(broker, [event])

    async def missed() -> list[str]:
        back = await caller.socket(replicas[1].url, origin=ORIGIN)
        await back.close()
        return [frame["id"] for frame in back.welcome["missed"]]

    assert await eventually(missed) == [str(event.id)]


async def test_an_offset_that_was_never_sent_cannot_be_acknowledged(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker, redis: Redis
) -> None:
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    await ack(socket, 2**52)
    events = [status_event(caller.user_id) for _ in range(2)]
    await publish(broker, events)
    first, second = [(await socket.next_order())["o"] for _ in events]
    await ack(socket, second + 1)
    await ack(socket, first)
    await wait_until_acked(redis, caller, first)


async def test_a_client_that_missed_more_than_the_stream_keeps_is_not_recovered(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    await publish(broker, [status_event(caller.user_id)])
    first = await socket.next_order()
    count = 400
    await publish(broker, [status_event(caller.user_id) for _ in range(count)])
    last = [await socket.next_order() for _ in range(count)][-1]

    back = await caller.socket(replicas[1].url, f"?e={socket.welcome['epoch']}&o={first['o']}", ORIGIN)
    assert back.welcome["recovered"] is False
    assert back.welcome["missed"][-1]["id"] == last["id"], "messages that are still kept must be delivered"
    await back.silent_for(0.2)


async def next_frame(socket: Socket, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while (frame := json.loads(await socket.connection.recv()))["type"] != kind:
            pass
    return frame


async def renew(socket: Socket, ticket: str) -> None:
    await socket.connection.send(json.dumps({"type": "renew", "ticket": ticket}))


async def test_a_new_ticket_renews_the_identity_and_the_socket_stays_open(
    two: Callable[..., Any], session: aiohttp.ClientSession, broker: Broker
) -> None:
    replicas = await two(IDENTITY_SECONDS="2")
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    for _ in range(2):
        asked = await next_frame(socket, "renew")
        assert asked == {"type": "renew", "within": 1}
        await renew(socket, await on(replicas[1], session, caller.user_id).ticket())
    event = status_event(caller.user_id)
    await publish(broker, [event])
    assert (await next_frame(socket, "order"))["id"] == str(event.id)


async def test_a_socket_whose_identity_is_not_renewed_is_closed(
    two: Callable[..., Any], session: aiohttp.ClientSession
) -> None:
    replicas = await two(IDENTITY_SECONDS="1")
    socket = await on(replicas[0], session).socket(origin=ORIGIN)
    assert await closed(socket) == (4403, "expired")


@pytest.mark.parametrize("kind", ["another user's", "used", "never issued"])
async def test_a_renewal_with_a_bad_ticket_closes_the_socket(
    replicas: list[Replica], session: aiohttp.ClientSession, kind: str
) -> None:
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    ticket = "nonsense"
    if kind == "another user's":
        ticket = await on(replicas[0], session).ticket()
    elif kind == "used":
        ticket = await caller.ticket()
        await (await caller.connect(origin=ORIGIN, ticket=ticket)).close()
    await renew(socket, ticket)
    assert await closed(socket) == (4401, "bad ticket")


async def test_a_ticket_expires_after_half_a_minute(
    replicas: list[Replica], session: aiohttp.ClientSession, redis: Redis
) -> None:
    caller = on(replicas[0], session)
    answer = await caller.call("POST", "/api/notifications/tickets")
    key = f"tk:{answer.body['ticket']}"
    assert 0 < await redis.ttl(key) <= answer.body["expires_in"] == 30
    await redis.pexpire(key, 1)
    await asyncio.sleep(0.01)
    connection = await caller.connect(origin=ORIGIN, ticket=answer.body["ticket"])
    with pytest.raises(ConnectionClosed):
        await connection.recv()
    assert connection.close_code == 4401


async def test_one_socket_too_many_evicts_the_oldest_on_any_replica(
    two: Callable[..., Any], session: aiohttp.ClientSession, broker: Broker, redis: Redis
) -> None:
    replicas = await two(SOCKETS_PER_USER="3")
    caller, other = on(replicas[0], session), on(replicas[0], session)
    bystander = await other.socket(origin=ORIGIN)
    opened = [await caller.socket(replica.url, origin=ORIGIN) for replica in [*replicas, *replicas, replicas[1]]]
    assert [await closed(socket) for socket in opened[:2]] == [(4409, "replaced")] * 2
    event = status_event(caller.user_id)
    await publish(broker, [event, status_event(other.user_id)])
    for socket in opened[2:]:
        assert (await socket.next_order())["id"] == str(event.id)
    await bystander.next_order()

    await opened[2].close()

    async def a_place_is_free() -> bool:
        return await redis.zcard(f"n:{{{caller.user_id}}}:c") == 2

    await eventually(a_place_is_free)
    await caller.socket(origin=ORIGIN)
    for socket in opened[3:]:
        await socket.silent_for(0.2)


async def test_sockets_of_a_killed_replica_do_not_prevent_new_sockets(
    two: Callable[..., Any], session: aiohttp.ClientSession, broker: Broker
) -> None:
    replicas = await two(SOCKETS_PER_USER="2")
    caller = on(replicas[0], session)
    for _ in range(2):
        await caller.socket(origin=ORIGIN)
    await replicas[0].kill()
    there = on(replicas[1], session, caller.user_id)
    back = [await there.socket(origin=ORIGIN) for _ in range(2)]
    event = status_event(caller.user_id)
    await publish(broker, [event])
    for socket in back:
        assert (await socket.next_order())["id"] == str(event.id)


async def test_an_evicted_socket_that_missed_the_publication_is_closed_after_its_next_message(
    two: Callable[..., Any], session: aiohttp.ClientSession, redis: Redis
) -> None:
    replicas = await two(SOCKETS_PER_USER="1", PING_SECONDS="1")
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    key = f"n:{{{caller.user_id}}}:c"
    [[mine, _]] = await redis.zrange(key, 0, -1, withscores=True)
    await redis.zadd(key, {b"f" * 32: 2**31})
    await redis.zrem(key, mine)
    await next_frame(socket, "ping")
    await socket.connection.send('{"type":"pong"}')
    assert await closed(socket) == (4409, "replaced")


async def test_presence_is_restored_in_a_redis_that_lost_it(
    two: Callable[..., Any], session: aiohttp.ClientSession, redis: Redis
) -> None:
    replicas = await two(PING_SECONDS="1")
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    key = f"n:{{{caller.user_id}}}:c"
    await redis.delete(key)
    await next_frame(socket, "ping")
    await socket.connection.send('{"type":"pong"}')

    async def is_registered() -> bool:
        return await redis.zcard(key) == 1

    await eventually(is_registered)


def send_frame(socket: Socket, frame: Frame) -> None:
    """Sends a frame that the client library would refuse to send."""
    protocol = socket.connection.protocol
    protocol.send_frame(frame)
    socket.connection.transport.write(b"".join(protocol.data_to_send()))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param("{", (4400, "bad message"), id="not JSON"),
        pytest.param('{"type":"order"}', (4400, "bad message"), id="a type that only the server sends"),
        pytest.param('{"type":"ack"}', (4400, "bad message"), id="an ack without an offset"),
        pytest.param('{"type":"ack","o":-1}', (4400, "bad message"), id="an ack below zero"),
        pytest.param('{"type":"ack","o":"1"}', (4400, "bad message"), id="an ack that is no number"),
        pytest.param('{"type":"renew","ticket":1}', (4400, "bad message"), id="a ticket that is no string"),
        pytest.param('{"type":"ack","o":9007199254740992}', (4400, "bad message"), id="an ack beyond 2^53"),
        pytest.param('{"type":"ack","o":' + "9" * 4000 + "}", (4400, "bad message"), id="an ack of many digits"),
        pytest.param(b"\x00\x01", (4400, "bad message"), id="bytes"),
        pytest.param(b'{"type":"pong"}', (4400, "bad message"), id="binary, although valid JSON"),
        pytest.param(b'{"type":"renew","ticket":"\xff"}', (4400, "bad message"), id="bytes that are not UTF-8"),
        pytest.param("[" * 4000, (4400, "bad message"), id="deeply nested"),
        pytest.param('{"type":"pong","x":' + "[" * 1000, (4400, "bad message"), id="deeply nested field"),
        pytest.param("", (4400, "bad message"), id="empty"),
        pytest.param("x" * 4097, (1009, None), id="over 4 KiB"),
        pytest.param(Frame(Opcode.TEXT, b"\xff"), (1007, None), id="not UTF-8"),
        pytest.param(Frame(Opcode.CONT, b"x"), (1002, None), id="a continuation without a start"),
    ],
)
async def test_a_client_that_violates_the_protocol_is_closed_with_the_matching_code(
    replicas: list[Replica],
    session: aiohttp.ClientSession,
    sent: str | bytes | Frame,
    expected: tuple[int, str | None],
) -> None:
    socket = await on(replicas[0], session).socket(origin=ORIGIN)
    if isinstance(sent, Frame):
        send_frame(socket, sent)
    else:
        await socket.connection.send(sent)
    code, reason = await closed(socket)
    assert (code, reason if expected[1] else None) == expected
    assert await replicas[0].metric(session, f'gozon_sockets_closed_total{{code="{code}"}}') == 1
    assert not severe(replicas[0])


def severe(replica: Replica) -> list[str]:
    """Returns the lines that the replica has logged as errors."""
    words = ('"level": "error"', '"level": "critical"', "Traceback")
    return [line for line in replica.log().splitlines() if any(word in line for word in words)]


async def test_a_failure_of_the_replica_closes_with_1011_and_is_logged(
    replicas: list[Replica], session: aiohttp.ClientSession, redis: Redis
) -> None:
    caller = on(replicas[0], session)
    await redis.xadd(f"n:{{{caller.user_id}}}:s", {"not": "ours"})
    connection = await caller.connect(origin=ORIGIN)
    with pytest.raises(ConnectionClosed):
        await connection.recv()
    assert connection.close_code == 1011
    assert severe(replicas[0])


async def test_a_client_over_the_rate_limit_is_closed_and_one_below_is_not(
    replicas: list[Replica], session: aiohttp.ClientSession
) -> None:
    calm, flooding = [await on(replicas[0], session).socket(origin=ORIGIN) for _ in range(2)]
    for _ in range(40):
        await flooding.connection.send('{"type":"pong"}')
    for _ in range(24):
        await calm.connection.send('{"type":"pong"}')
        await asyncio.sleep(0.15)
    assert await closed(flooding) == (4429, "too much")
    await calm.silent_for(0.2)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(Frame(Opcode.PING, b""), id="pings"),
        pytest.param(Frame(Opcode.PONG, b""), id="unsolicited pongs"),
        pytest.param(Frame(Opcode.CONT, b"", fin=False), id="empty fragments"),
    ],
)
async def test_a_flood_of_control_frames_or_empty_fragments_closes_the_socket(
    replicas: list[Replica], session: aiohttp.ClientSession, frame: Frame
) -> None:
    socket = await on(replicas[0], session).socket(origin=ORIGIN)
    if frame.opcode is Opcode.CONT:
        send_frame(socket, Frame(Opcode.TEXT, b"x", fin=False))
    for _ in range(4_000):
        send_frame(socket, frame)
    assert await closed(socket) == (4429, "too much")


async def test_a_client_that_vanished_is_closed_after_an_unanswered_ping(
    two: Callable[..., Any], session: aiohttp.ClientSession, way_to: Callable[[str], Forwarder]
) -> None:
    [replica, _] = await two(PING_SECONDS="1", PONG_SECONDS="1")
    way = way_to(replica.url)
    await way.open()
    caller = on(replica, session)
    lively, vanished = await caller.socket(origin=ORIGIN), await caller.socket(way.url, origin=ORIGIN)
    way.hold()

    async def it_is_closed() -> bool:
        return await replica.metric(session, 'gozon_sockets_closed_total{code="4402"}') == 1

    answering = asyncio.create_task(lively.silent_for(8))
    await eventually(it_is_closed)
    await answering
    assert await replica.metric(session, "gozon_sockets") == 1
    await way.cut()
    assert vanished.connection.close_code in (None, 1006)


async def small_buffers(caller: Caller) -> sockets.socket:
    """Returns a connection with a very small receive buffer."""
    connection = sockets.socket()
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    connection.setblocking(False)
    port = int(caller.url.rpartition(":")[2])
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return connection


async def stuck_socket(caller: Caller) -> Socket:
    socket = await caller.socket(origin=ORIGIN, sock=await small_buffers(caller))
    socket.connection.transport.pause_reading()
    return socket


async def test_a_stuck_socket_is_asked_to_renew_when_it_can_be_written_again(
    two: Callable[..., Any], session: aiohttp.ClientSession, broker: Broker
) -> None:
    [replica, _] = await two(IDENTITY_SECONDS="12")
    caller = on(replica, session)
    socket = await caller.socket(origin=ORIGIN)
    socket.connection.transport.pause_reading()
    for _ in range(12):
        await publish(broker, [status_event(caller.user_id, description="x" * 60_000) for _ in range(8)])

    async def it_is_behind() -> bool:
        return await replica.metric(session, "gozon_sockets_behind_total") >= 1

    await eventually(it_is_behind)
    await asyncio.sleep(7)  # the replica wants to ask for the renewal after six seconds
    socket.connection.transport.resume_reading()
    assert (await next_frame(socket, "renew"))["within"] <= 6


async def test_a_client_that_does_not_read_its_welcome_is_closed(
    two: Callable[..., Any], session: aiohttp.ClientSession, broker: Broker
) -> None:
    [replica, _] = await two(PING_SECONDS="1")
    caller = on(replica, session)
    first = await caller.socket(origin=ORIGIN)
    for _ in range(12):
        await publish(broker, [status_event(caller.user_id, description="x" * 60_000) for _ in range(8)])
    for _ in range(96):
        await first.next_order()
    await first.close()

    query = f"?e={first.welcome['epoch']}&o={first.welcome['offset']}"
    connection = await caller.connect(query=query, origin=ORIGIN, sock=await small_buffers(caller))
    connection.transport.pause_reading()

    async def it_is_closed() -> bool:
        return await replica.metric(session, 'gozon_sockets_closed_total{code="4408"}') == 1

    await eventually(it_is_closed, 60)


async def test_stuck_sockets_are_closed_and_use_no_more_memory_than_their_write_buffers(
    two: Callable[..., Any], session: aiohttp.ClientSession, broker: Broker
) -> None:
    [replica, _] = await two(SOCKETS_PER_USER="100")
    caller = on(replica, session)
    lively = await caller.socket(origin=ORIGIN)
    files = await replica.metric(session, "process_open_fds")
    stuck = [await stuck_socket(caller) for _ in range(60)]
    count, size = 96, 60_000
    before = await replica.metric(session, "process_resident_memory_bytes")

    for _ in range(count // 8):
        await publish(broker, [status_event(caller.user_id, description="x" * size) for _ in range(8)])
    for _ in range(count):
        await lively.next_order()
    assert await replica.metric(session, "gozon_sockets_behind_total") >= len(stuck), "the sockets are not stuck"
    grown = await replica.metric(session, "process_resident_memory_bytes") - before
    assert grown < 60e6, f"{grown / len(stuck):,.0f} bytes per socket; each has {count * size:,} waiting"

    async def all_are_closed() -> bool:
        return await replica.metric(session, 'gozon_sockets_closed_total{code="4408"}') == len(stuck)

    await eventually(all_are_closed)

    async def all_are_freed() -> bool:
        left = await replica.metric(session, "process_open_fds") - files
        return left < 10 and await replica.metric(session, "gozon_sockets") == 1

    await eventually(all_are_freed)
    await lively.silent_for(0.2)


async def test_a_plain_get_of_the_websocket_address_gets_426(
    replicas: list[Replica], session: aiohttp.ClientSession
) -> None:
    answer = await on(replicas[0], session).call("GET", "/ws")
    assert (answer.status, answer.fields()) == (426, set())


async def test_metrics_count_published_and_delivered_events_and_their_latency(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    caller = on(replicas[0], session)
    opened = [await caller.socket(replica.url, origin=ORIGIN) for replica in replicas]
    await publish(broker, [status_event(caller.user_id) for _ in range(3)])
    for socket in opened:
        for _ in range(3):
            await socket.next_order()
    published = [await replica.metric(session, "gozon_notifications_published_total") for replica in replicas]
    assert sum(published) == 3
    for replica in replicas:
        expected = {
            "gozon_sockets": 1,
            "gozon_users_connected": 1,
            "gozon_channels": 2,
            "gozon_frames_delivered_total": 3,
            "gozon_event_to_frame_seconds_count": 3,
            'gozon_welcomes_total{recovered="true"}': 1,
            "gozon_sockets_behind_total": 0,
            "gozon_probe_failures_total": 0,
        }
        assert {named: await replica.metric(session, named) for named in expected} == expected
