"""The pages of a load's users, on a real notifier, beside everything that it asks of a client."""

import asyncio
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from loadtest.load.entrance import Entrance
from loadtest.load.journeys import Journeys
from loadtest.load.users import User
from tests.conftest import Spawn
from tests.notifier.push_events import ORIGIN, status_event, tell
from tests.servers import Broker
from tests.support import Replica, eventually, new_user


@pytest.fixture
async def replica(spawn: Spawn, servers: dict[str, Any], broker_url: str) -> Replica:
    where = {"BROKER_URL": broker_url, "REDIS_URL": servers["redis"], "ALLOWED_ORIGINS": ORIGIN}
    return await spawn("notifier", **where, PING_SECONDS="1", PONG_SECONDS="2", IDENTITY_SECONDS="4")


@pytest.fixture
async def user(replica: Replica) -> User:
    entrance = Entrance(replica.url, connections=4)
    entrance.origin = ORIGIN
    user = User(new_user(), False, entrance, Journeys())
    await user.arrive(pages=2)
    return user


async def test_pages_answer_pings_and_renew_their_identity(
    user: User, replica: Replica, session: aiohttp.ClientSession
) -> None:
    await asyncio.sleep(6)  # longer than a page lives that answers no ping, or shows no new ticket
    assert [page.why_lost for page in user.pages] == ["", ""]
    assert await replica.metric(session, "gozon_sockets ") == 2
    user.leave()


async def test_pages_keep_every_toast_and_acknowledge(user: User, broker: Broker, redis: Redis) -> None:
    events = [status_event(user.id) for _ in range(3)]
    user.placed = 3
    await tell(broker, events)

    async def told() -> bool:
        return not user.waits

    async def acknowledged() -> bool:
        meta = await redis.hgetall(f"n:{{{user.id}}}:m")
        return meta.get(b"acked") == meta[b"offset"]

    await eventually(told)
    for page in user.pages:
        assert [toast.id for toast in page.toasts] == [event.data["order_id"] for event in events]
    await eventually(acknowledged)
    user.leave()


async def test_a_page_that_was_sent_away_says_why(user: User, replica: Replica) -> None:
    user.placed = 1
    assert user.waits
    await replica.stop()
    assert {page.why_lost for page in user.pages} == {"closed with 1012"}
    assert not user.waits, "a lost page is not waited for"
