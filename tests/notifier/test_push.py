import asyncio
import json
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gozon.topology import ORDER_STATUS
from notifier.streams import channel
from tests.conftest import Spawn
from tests.notifier.push_events import ORIGIN, on, publish, status_event
from tests.servers import Broker
from tests.support import Replica, eventually


@pytest.fixture
async def replicas(spawn: Spawn, servers: dict[str, Any], broker_url: str) -> list[Replica]:
    settings = {
        "BROKER_URL": broker_url,
        "REDIS_URL": servers["redis"],
        "ALLOWED_ORIGINS": f"{ORIGIN},http://b.test",
    }
    return list(await asyncio.gather(spawn("notifier", **settings), spawn("notifier", **settings)))


async def test_each_socket_of_a_user_on_both_replicas_receives_an_event_once(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    caller = on(replicas[0], session)
    sockets = [await caller.socket(replica.url, origin=ORIGIN) for replica in [*replicas, *replicas]]
    assert [socket.replica for socket in sockets] == [replica.name for replica in [*replicas, *replicas]]
    event = status_event(caller.user_id)

    await publish(broker, [event, event])
    await publish(broker, [event])

    for socket in sockets:
        frame = await socket.next_order()
        assert frame["id"] == str(event.id)
        assert frame["order"]["description"] == 'a "lamp" \u20ac'
        assert frame["o"] > socket.welcome["offset"]
    for socket in sockets:
        await socket.silent_for(0.3)


async def test_an_event_is_sent_only_to_its_own_user(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    one, other = on(replicas[0], session), on(replicas[1], session)
    mine, theirs = await one.socket(origin=ORIGIN), await other.socket(origin=ORIGIN)
    await publish(broker, [status_event(one.user_id)])
    await mine.next_order()
    await theirs.silent_for(0.3)


@pytest.mark.parametrize("nonsense", [b"nonsense", b"1 2 3 4", b"one two 3 4 {}", b"replaced \xff", b""])
async def test_an_undecodable_publication_is_skipped_and_counted(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker, redis: Redis, nonsense: bytes
) -> None:
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    assert await redis.publish(channel(caller.user_id).decode(), nonsense) == 1
    event = status_event(caller.user_id)
    await publish(broker, [event])
    assert (await socket.next_order())["id"] == str(event.id)
    unreadable = await replicas[0].metric(session, "gozon_unreadable_publications_total")
    assert unreadable == (not nonsense.startswith(b"replaced "))


async def test_closing_one_socket_of_a_user_does_not_affect_the_others(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    caller = on(replicas[0], session)
    first, second = await caller.socket(origin=ORIGIN), await caller.socket(origin=ORIGIN)
    await first.close()
    await publish(broker, [status_event(caller.user_id)])
    await second.next_order()


async def test_a_page_from_a_foreign_origin_gets_403(
    replicas: list[Replica], session: aiohttp.ClientSession
) -> None:
    caller = on(replicas[0], session)
    with pytest.raises(InvalidStatus) as refusal:
        await caller.connect(origin="http://evil.test")
    assert refusal.value.response.status_code == 403
    assert await replicas[0].metric(session, 'gozon_sockets_refused_total{status="403"}') == 1
    assert '"level": "error"' not in replicas[0].log()
    await (await caller.socket(origin="http://b.test")).close()


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/ws", "X: y\r\n" * 200, b"431"),
        ("/ws", "Sec-WebSocket-Key: again\r\n", b"400"),
        ("/ws", "Origin: http://evil.test\r\n", b"403"),
        ("/nowhere", "", b"403"),
    ],
    ids=["200 headers", "two keys", "a foreign origin", "no such address"],
)
async def test_a_bad_handshake_is_refused_and_logs_no_error(
    replicas: list[Replica], path: str, more: str, status: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", replicas[0].port)
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{upgrade}{key}{more}\r\n".encode())
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert answer.split()[1] == status
    assert not [line for line in replicas[0].log().splitlines() if '"level": "error"' in line or "Trace" in line]


@pytest.mark.parametrize("offered", ["nonsense", "used"])
async def test_a_bad_or_used_ticket_closes_with_4401(
    replicas: list[Replica], session: aiohttp.ClientSession, offered: str
) -> None:
    caller = on(replicas[0], session)
    if offered == "used":
        offered = await caller.ticket()
        await (await caller.connect(origin=ORIGIN, ticket=offered)).close()
    connection = await caller.connect(replicas[1].url, origin=ORIGIN, ticket=offered)
    with pytest.raises(ConnectionClosed):
        await connection.recv()
    assert connection.close_code == 4401


async def test_the_handshake_response_names_the_protocol_and_never_the_ticket(
    replicas: list[Replica], session: aiohttp.ClientSession
) -> None:
    connection = await on(replicas[0], session).connect(origin=ORIGIN)
    assert connection.subprotocol == "gozon.v1"
    await connection.close()


async def test_a_frame_over_the_limit_closes_the_socket(
    replicas: list[Replica], session: aiohttp.ClientSession
) -> None:
    socket = await on(replicas[0], session).socket(origin=ORIGIN)
    await socket.connection.send("x" * 5000)
    with pytest.raises(ConnectionClosed):
        await socket.connection.recv()
    assert socket.connection.close_code == 1009


async def test_a_client_that_reconnects_to_another_replica_receives_exactly_the_missed_events(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    events = [status_event(caller.user_id) for _ in range(5)]
    await publish(broker, events[:2])
    given = [await socket.next_order() for _ in range(2)]
    await socket.close()
    await publish(broker, events[2:])
    query = f"?e={socket.welcome['epoch']}&o={given[-1]['o']}"

    async def all_missed() -> dict[str, Any] | None:
        back = await caller.socket(replicas[1].url, query, ORIGIN)
        await back.close()
        return back.welcome if len(back.welcome["missed"]) == 3 else None

    welcome = await eventually(all_missed)
    assert welcome is not None
    assert welcome["recovered"] is True
    assert [frame["id"] for frame in welcome["missed"]] == [str(event.id) for event in events[2:]]
    assert all(frame["type"] == "order" for frame in welcome["missed"])


async def test_a_client_with_another_epoch_is_not_recovered(
    replicas: list[Replica], session: aiohttp.ClientSession
) -> None:
    socket = await on(replicas[0], session).socket(query="?e=another&o=1", origin=ORIGIN)
    assert socket.welcome["recovered"] is False
    await socket.close()


async def test_a_stuck_socket_does_not_delay_another_and_catches_up_later(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    caller = on(replicas[0], session)
    stuck, lively = await caller.socket(origin=ORIGIN), await caller.socket(origin=ORIGIN)
    stuck.connection.transport.pause_reading()
    count = 90  # fewer than the stream keeps, and together more than a write buffer holds

    for _ in range(count // 10):
        await publish(broker, [status_event(caller.user_id, description="x" * 60_000) for _ in range(10)])
    delivered = [(await lively.next_order())["o"] for _ in range(count)]
    assert delivered == sorted(delivered)
    behind = await replicas[0].metric(session, "gozon_sockets_behind_total")
    assert behind >= 1, "the socket was never too slow, so this test proves nothing"

    stuck.connection.transport.resume_reading()
    assert [(await stuck.next_order())["o"] for _ in range(count)] == delivered


async def test_an_undecodable_message_is_dead_lettered_and_the_next_is_delivered(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    await broker.publish_body("order.finished", b"{not json")
    await publish(broker, [status_event(caller.user_id)])
    await socket.next_order()
    assert (await broker.take(ORDER_STATUS.dead)).body == b"{not json"


async def test_no_event_is_missed_when_the_pubsub_connection_is_killed(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker, redis: Redis
) -> None:
    caller = on(replicas[0], session)
    sockets = [await caller.socket(replica.url, origin=ORIGIN) for replica in replicas]
    await redis.client_kill_filter(_type="pubsub")
    event = status_event(caller.user_id)
    await publish(broker, [event])
    for socket in sockets:
        assert (await socket.next_order())["id"] == str(event.id)
        await socket.silent_for(0.3)
    for replica in replicas:
        await replica.ready(session)


async def test_the_welcome_holds_json_that_a_browser_can_read(
    replicas: list[Replica], session: aiohttp.ClientSession
) -> None:
    socket = await on(replicas[0], session).socket(origin=ORIGIN)
    assert set(socket.welcome) == {"type", "epoch", "offset", "recovered", "missed", "replica"}
    assert json.loads(json.dumps(socket.welcome)) == socket.welcome
    await socket.close()


async def test_a_gap_in_the_publications_is_filled_from_the_stream_before_the_next_message(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker, redis: Redis
) -> None:
    caller = on(replicas[0], session)
    sockets = [await caller.socket(origin=ORIGIN) for _ in range(2)]
    missed, received = status_event(caller.user_id), status_event(caller.user_id)
    name = f"n:{{{caller.user_id}}}"
    await publish(broker, [missed])
    last, _ = [(await socket.next_order())["o"] for socket in sockets]

    # A replica that lost its subscription for a moment receives a message whose previous offset it does not know.
    between, after = last + 1, last + 2
    for offset, previous, event in [(between, last, missed), (after, between, received)]:
        frame = f'{{"type":"order","o":{offset},"id":"{event.id}","order":{{}}}}'
        await redis.xadd(f"{name}:s", {"previous": str(previous), "frame": frame}, id=f"{offset}-0")
        await redis.hset(f"{name}:m", "offset", str(offset))
    frame = f'{{"type":"order","o":{after},"id":"{received.id}","order":{{}}}}'
    await redis.publish(name, f"{between} {after} 0 0 {frame}")

    for socket in sockets:
        assert [(await socket.next_order())["o"] for _ in range(2)] == [between, after]
        await socket.silent_for(0.2)


async def test_250_simultaneous_sockets_are_all_accepted(
    replicas: list[Replica], session: aiohttp.ClientSession, broker: Broker
) -> None:
    callers = [on(replicas[0], session) for _ in range(250)]
    sockets = await asyncio.gather(*(caller.socket(origin=ORIGIN) for caller in callers))
    await publish(broker, [status_event(callers[0].user_id)])
    await sockets[0].next_order()


async def test_events_wait_and_are_not_dead_lettered_while_redis_refuses_writes(
    replicas: list[Replica],
    session: aiohttp.ClientSession,
    broker: Broker,
    redis: Redis,
) -> None:
    caller = on(replicas[0], session)
    socket = await caller.socket(origin=ORIGIN)
    event = status_event(caller.user_id)
    await redis.config_set("maxmemory", "1")
    try:
        await publish(broker, [event])

        async def refused() -> bool:
            counts = [
                await replica.metric(session, 'gozon_handler_failures_total{stage="notifier.order-status"}')
                for replica in replicas
            ]
            return sum(counts) >= 2

        await eventually(refused)
        assert (await caller.call("POST", "/api/notifications/tickets")).status == 503
    finally:
        await redis.config_set("maxmemory", "0")
    assert (await socket.next_order())["id"] == str(event.id)
    for replica in replicas:
        assert await replica.metric(session, "gozon_dead_letters_total") == 0
