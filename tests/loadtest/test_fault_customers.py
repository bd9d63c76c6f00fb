"""How customers of a fault trial classify responses."""

from collections.abc import AsyncGenerator, Callable
from random import Random

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.faults.customers import Crowd, Customer
from loadtest.faults.keyed_request import ACCOUNT, KeyedRequest


class FakeShop:
    """Sends `responses` one after another, and repeats the last one."""

    def __init__(self, *responses: Callable[[], web.Response]) -> None:
        self.responses = list(responses)

    async def handle(self, request: web.Request) -> web.Response:  # noqa: ARG002
        respond = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        return respond()


def status(number: int) -> Callable[[], web.Response]:
    return lambda: web.json_response({"id": "1"}, status=number)


def invalid_json() -> web.Response:
    return web.Response(status=201, text="<html>", content_type="application/json")


@pytest.fixture
async def fake_shop() -> AsyncGenerator[tuple[FakeShop, str]]:
    fake_shop = FakeShop(status(201))
    app = web.Application()
    app.router.add_post("/{path:.*}", fake_shop.handle)
    async with TestServer(app) as server:
        yield fake_shop, str(server.make_url("")).rstrip("/")


async def sent(session: aiohttp.ClientSession, url: str, request: KeyedRequest, times: int) -> KeyedRequest:
    for _ in range(times):
        await request.send(session, url)
    return request


@pytest.mark.parametrize("number", [502, 503, 504])
async def test_a_gateway_error_leaves_the_outcome_of_a_request_unknown(
    session: aiohttp.ClientSession, fake_shop: tuple[FakeShop, str], number: int
) -> None:
    fake_shop[0].responses = [status(number), status(201)]
    request = await sent(session, fake_shop[1], KeyedRequest("ann", "/api/orders"), 2)
    assert (request.outcomes, request.unexplained) == (["unknown", "ok"], [])


async def test_a_conflict_after_an_unknown_outcome_means_that_the_account_exists(
    session: aiohttp.ClientSession, fake_shop: tuple[FakeShop, str]
) -> None:
    fake_shop[0].responses = [status(503), status(409)]
    request = await sent(session, fake_shop[1], KeyedRequest("ann", ACCOUNT), 2)
    assert (request.outcomes, request.unexplained) == (["unknown", "ok"], [])


@pytest.mark.parametrize("path", [ACCOUNT, "/api/orders", "/api/payments/account/top-ups"])
async def test_a_conflict_at_the_first_attempt_is_unexplained(
    session: aiohttp.ClientSession, fake_shop: tuple[FakeShop, str], path: str
) -> None:
    fake_shop[0].responses = [status(409)]
    request = await sent(session, fake_shop[1], KeyedRequest("ann", path), 1)
    assert (request.outcomes, len(request.unexplained), request.id) == (["failed"], 1, None)


async def test_a_customer_that_fails_is_reported_and_finish_does_not_wait_for_it(
    session: aiohttp.ClientSession, fake_shop: tuple[FakeShop, str]
) -> None:
    fake_shop[0].responses = [invalid_json]
    crowd = Crowd(session, fake_shop[1], Random(1))  # noqa: S311
    crowd.trading.append(Customer("ann", None, []))
    probes = crowd.start_probes()
    assert await crowd.finish(5) == 0
    assert len(crowd.died) == len(probes)
    assert "JSONDecodeError" in crowd.died[0]
