"""The simulated pages of a load, on a real notifier with short time limits."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from loadtest.client import Pool
from loadtest.load import measurements
from loadtest.load.journeys import Journeys
from loadtest.load.messages import Result, WorkerShare
from loadtest.load.parameters import Parameters
from loadtest.load.target import LoadTarget
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
    target = LoadTarget(replica.url, connections=4)
    target.origin = ORIGIN
    user = User(new_user(), False, target, Journeys())
    await user.set_up(pages=2)
    return user


async def test_pages_answer_pings_and_renew_their_identity(
    user: User, replica: Replica, session: aiohttp.ClientSession
) -> None:
    await asyncio.sleep(6)  # a page without pongs or without a new ticket would be closed earlier
    assert [page.why_lost for page in user.pages] == ["", ""]
    assert await replica.metric(session, "gozon_sockets") == 2
    user.close_pages()


async def test_pages_answer_pings_while_the_result_is_computed(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a load of an hour, the computation can take longer than the notifier waits for a pong (4402)."""
    few = Parameters(users=2, patience=1.0)
    worker = LoadWorker(WorkerShare(replica.url, 0, new_user(), few))
    worker.target.origin = ORIGIN
    for user in worker.users:
        user.has_account = False  # only the notifier runs, so there are neither accounts nor orders
    await worker.set_up_users()
    compute = measurements.result

    def as_after_an_hour(*measured: Any) -> Result:
        end = time.perf_counter() + 5  # longer than the notifier waits for a pong
        while time.perf_counter() < end:
            pass
        return compute(*measured)

    monkeypatch.setattr(measurements, "result", as_after_an_hour)
    result = await worker.finish(time.perf_counter())
    held = {verdict.name: verdict for verdict in result.verdicts}["sockets"]
    assert held.looked_at >= 2
    assert held.rows == []


async def test_a_page_retries_a_failed_request_for_a_ticket(
    user: User, replica: Replica, way_to: Callable[[str], Forwarder]
) -> None:
    forwarder = way_to(replica.url)
    user.target.pool = Pool(forwarder.url, 4)

    async def failed_twice() -> bool:
        return sum(user.target.responses.errors.values()) >= 2

    await eventually(failed_twice)
    await forwarder.open()
    await asyncio.sleep(5)  # a page without a new ticket would be closed earlier
    assert [page.why_lost for page in user.pages] == ["", ""]
    assert user.target.responses.verdict.offenders >= 2, "the report counts the failed requests"
    user.close_pages()


async def test_a_page_that_never_gets_a_ticket_reports_the_failure(user: User) -> None:
    user.target.pool = Pool(f"http://127.0.0.1:{free_port()}", 4)

    async def lost() -> bool:
        return all(page.why_lost for page in user.pages)

    await eventually(lost)
    for page in user.pages:
        assert page.why_lost.startswith("closed with 4403, not renewed: POST /api/notifications/tickets")


async def test_pages_keep_and_acknowledge_every_toast(user: User, broker: Broker, redis: Redis) -> None:
    events = [status_event(user.id) for _ in range(3)]
    user.placed = 3
    await publish(broker, events)

    async def all_toasts_received() -> bool:
        return not user.waiting

    async def acknowledged() -> bool:
        meta = await redis.hgetall(f"n:{{{user.id}}}:m")
        return meta.get(b"acked") == meta[b"offset"]

    await eventually(all_toasts_received)
    for page in user.pages:
        assert [toast.id for toast in page.toasts] == [event.data["order_id"] for event in events]
    await eventually(acknowledged)
    user.close_pages()


async def test_a_page_reports_the_close_code_of_a_stopping_notifier(user: User, replica: Replica) -> None:
    user.placed = 1
    assert user.waiting
    await replica.stop()
    assert {page.why_lost for page in user.pages} == {"closed with 1012"}
    assert not user.waiting, "the load does not wait for a lost page"
