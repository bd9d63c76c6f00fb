"""What customers of a fault trial make of the answers that they get."""

from collections.abc import AsyncGenerator, Callable
from random import Random

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.faults.customers import Crowd, Customer
from loadtest.faults.history import ACCOUNT, Deed


class Front:
    """Answers with `answers`, one after the other, and with the last of them for ever."""

    def __init__(self, *answers: Callable[[], web.Response]) -> None:
        self.answers = list(answers)

    async def answer(self, request: web.Request) -> web.Response:  # noqa: ARG002
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer()


def status(number: int) -> Callable[[], web.Response]:
    return lambda: web.json_response({"id": "1"}, status=number)


def garbage() -> web.Response:
    return web.Response(status=201, text="<html>", content_type="application/json")


@pytest.fixture
async def front() -> AsyncGenerator[tuple[Front, str]]:
    front = Front(status(201))
    app = web.Application()
    app.router.add_post("/{path:.*}", front.answer)
    async with TestServer(app) as server:
        yield front, str(server.make_url("")).rstrip("/")


async def asked(session: aiohttp.ClientSession, url: str, deed: Deed, times: int) -> Deed:
    for _ in range(times):
        await deed.ask(session, url)
    return deed


@pytest.mark.parametrize("number", [502, 503, 504])
async def test_nobody_knows_what_became_of_a_request(
    session: aiohttp.ClientSession, front: tuple[Front, str], number: int
) -> None:
    front[0].answers = [status(number), status(201)]
    deed = await asked(session, front[1], Deed("ann", "/api/orders"), 2)
    assert (deed.outcomes, deed.surprises) == (["unknown", "ok"], [])


async def test_an_account_that_may_have_been_opened_is_there(
    session: aiohttp.ClientSession, front: tuple[Front, str]
) -> None:
    front[0].answers = [status(503), status(409)]
    deed = await asked(session, front[1], Deed("ann", ACCOUNT), 2)
    assert (deed.outcomes, deed.surprises) == (["unknown", "ok"], [])


@pytest.mark.parametrize("path", [ACCOUNT, "/api/orders", "/api/payments/account/top-ups"])
async def test_a_conflict_that_cannot_be_is_a_surprise(
    session: aiohttp.ClientSession, front: tuple[Front, str], path: str
) -> None:
    front[0].answers = [status(409)]
    deed = await asked(session, front[1], Deed("ann", path), 1)
    assert (deed.outcomes, len(deed.surprises), deed.id) == (["failed"], 1, None)


async def test_a_customer_that_dies_is_counted_and_nobody_waits_for_it(
    session: aiohttp.ClientSession, front: tuple[Front, str]
) -> None:
    front[0].answers = [garbage]
    crowd = Crowd(session, front[1], Random(1))  # noqa: S311
    crowd.trading.append(Customer("ann", None, []))
    asked = crowd.ask_anew()
    assert await crowd.finish(5) == 0
    assert len(crowd.died) == len(asked)
    assert "JSONDecodeError" in crowd.died[0]
