"""The reading of orders and balances after a load, from a server that fails as a shop can."""

import time

from aiohttp import web

from loadtest.load.history import paid
from loadtest.load.journeys import Journeys
from loadtest.load.settling import histories
from loadtest.load.target import LoadTarget
from loadtest.load.users import User
from tests.conftest import Serve
from tests.servers import StandIn

ORDER = {"id": "order-1", "amount": 300, "status": "FINISHED", "version": 2}


def user_of(server: StandIn) -> User:
    return User("alice", True, LoadTarget(server.url, connections=4), Journeys())


async def test_a_failed_request_while_settling_is_repeated_and_counted(serve: Serve) -> None:
    failures = iter((503, 502))

    async def answer(request: web.Request) -> web.StreamResponse:
        if status := next(failures, 0):
            return web.Response(status=status)
        if request.path.endswith("account"):
            return web.json_response({"balance": 700})
        return web.json_response({"items": [ORDER], "next_cursor": None})

    user = user_of(await serve(answer))
    [history] = await histories([user], [], time.perf_counter() + 60)
    assert list(history.listed) == [paid("order-1", 300)]
    assert history.balance == 700
    responses = user.target.responses
    assert responses.errors == {"settling: 503": 1, "settling: 502": 1}
    assert (responses.verdict.looked_at, responses.verdict.offenders) == (4, 2)
    assert responses.verdict.rows[0]["request"] == "GET /api/orders?limit=100"


async def test_a_user_who_cannot_be_read_is_left_out_and_counted_as_an_error(serve: Serve) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers["X-User-Id"] == "alice":
            return web.Response(status=500)
        if request.path.endswith("account"):
            return web.Response(status=404)
        return web.json_response({"items": [], "next_cursor": None})

    server = await serve(answer)
    alice = user_of(server)
    bob = User("bob", False, alice.target, Journeys())
    found = await histories([alice, bob], [], time.perf_counter() + 1.5)
    assert [history.user_id for history in found] == ["bob"]
    assert alice.target.responses.errors == {"settling: 500": 2}
    assert not alice.target.responses.verdict.holds
