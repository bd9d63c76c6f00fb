"""The pages of a load's users, on a real notifier, beside everything that it asks of a client."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from loadtest.client import Pool
from loadtest.load import figures
from loadtest.load.entrance import Entrance
from loadtest.load.journeys import Journeys
from loadtest.load.messages import Result, Share
from loadtest.load.parameters import Parameters
from loadtest.load.users import User
from loadtest.load.worker import LoadWorker
from tests.conftest import Spawn
from tests.notifier.push_events import ORIGIN, publish, status_event
from tests.servers import Broker, Forwarder
from tests.support import Replica, eventually, free_port, new_user


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
    assert await replica.metric(session, "gozon_sockets") == 2
    user.leave()


async def test_pages_answer_pings_while_figures_are_reckoned(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of an hour can take so long that the notifier gives pages up, with 4402."""
    few = Parameters(users=2, patience=1.0)
    worker = LoadWorker(Share(replica.url, 0, new_user(), few))
    worker.entrance.origin = ORIGIN
    for user in worker.users:
        user.has_account = False  # nor are there orders: only the notifier runs
    await worker.arrive()
    reckon = figures.result

    def as_after_an_hour(*measured: Any) -> Result:
        end = time.perf_counter() + 5  # longer than a page lives that answers no ping
        while time.perf_counter() < end:
            pass
        return reckon(*measured)

    monkeypatch.setattr(figures, "result", as_after_an_hour)
    result = await worker.judged(time.perf_counter())
    held = {verdict.name: verdict for verdict in result.verdicts}["sockets"]
    assert held.looked_at >= 2
    assert held.rows == []


async def test_a_page_that_gets_no_ticket_at_first_tries_again_in_time(
    user: User, replica: Replica, way_to: Callable[[str], Forwarder]
) -> None:
    way = way_to(replica.url)
    user.entrance.pool = Pool(way.url, 4)

    async def refused() -> bool:
        return sum(user.entrance.answers.errors.values()) >= 2

    await eventually(refused)
    await way.open()
    await asyncio.sleep(5)  # longer than a page lives that shows no new ticket
    assert [page.why_lost for page in user.pages] == ["", ""]
    assert user.entrance.answers.verdict.offenders >= 2, "the report names what was not answered"
    user.leave()


async def test_a_page_that_gets_no_ticket_at_all_says_why_it_was_lost(user: User) -> None:
    user.entrance.pool = Pool(f"http://127.0.0.1:{free_port()}", 4)

    async def lost() -> bool:
        return all(page.why_lost for page in user.pages)

    await eventually(lost)
    for page in user.pages:
        assert page.why_lost.startswith("closed with 4403, not renewed: POST /api/notifications/tickets")


async def test_pages_keep_every_toast_and_acknowledge(user: User, broker: Broker, redis: Redis) -> None:
    events = [status_event(user.id) for _ in range(3)]
    user.placed = 3
    await publish(broker, events)

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
