"""Through the front door of a whole shop, wherever it runs."""

import asyncio
import json

import aiohttp
import pytest

from tests.conftest import Shop
from tests.support import ROOT, Caller, Socket


async def test_an_order_is_paid_and_the_user_is_told(caller: Caller) -> None:
    await caller.open_account(100_000)
    socket = await caller.socket()
    order_id = await caller.order(40_000, "a warm blanket")

    frame = await socket.next_order()

    assert frame["order"] == {
        "id": order_id,
        "status": "FINISHED",
        "amount": 40_000,
        "description": "a warm blanket",
        "version": 2,
    }
    order = await caller.decided(order_id)
    assert (order["status"], order["version"]) == ("FINISHED", 2)
    assert await caller.balance() == 60_000
    await socket.silent_for(0.5)
    await socket.close()


async def test_an_order_that_costs_too_much_is_cancelled(caller: Caller) -> None:
    await caller.open_account(100_000)
    socket = await caller.socket()
    order_id = await caller.order(100_001)

    frame = await socket.next_order()

    assert (frame["order"]["status"], frame["order"]["reason"]) == ("CANCELLED", "insufficient_funds")
    assert (await caller.decided(order_id))["reason"] == "insufficient_funds"
    assert await caller.balance() == 100_000
    await socket.close()


async def test_an_order_without_an_account_is_cancelled(caller: Caller) -> None:
    socket = await caller.socket()
    order_id = await caller.order(1)

    frame = await socket.next_order()

    assert (frame["order"]["id"], frame["order"]["reason"]) == (order_id, "no_account")
    await socket.close()


async def test_an_order_of_the_exact_balance_is_paid_and_the_next_is_not(caller: Caller) -> None:
    await caller.open_account(500)
    first = await caller.decided(await caller.order(500))
    second = await caller.decided(await caller.order(1))
    assert (first["status"], second["status"]) == ("FINISHED", "CANCELLED")
    assert await caller.balance() == 0


async def test_every_socket_of_a_user_on_every_replica_is_told_once_and_nobody_elses(
    caller: Caller, session: aiohttp.ClientSession
) -> None:
    other = Caller(session, caller.url)
    await caller.open_account(10_000)
    sockets = [await caller.socket() for _ in range(9)]
    others_socket = await other.socket()
    replicas = {socket.replica for socket in sockets}
    assert len(replicas) >= 2, f"all sockets are on {replicas}"

    orders = {await caller.order(100) for _ in range(5)}

    async def told(socket: Socket) -> list[str]:
        return [(await socket.next_order())["order"]["id"] for _ in orders]

    for ids in await asyncio.gather(*map(told, sockets)):
        assert sorted(ids) == sorted(orders)
    await others_socket.silent_for(0.5)
    assert [await socket.silent_for(0.1) for socket in sockets] == [None] * len(sockets)
    for socket in [*sockets, others_socket]:
        await socket.close()


async def test_a_client_that_comes_back_is_given_what_it_missed(caller: Caller) -> None:
    await caller.open_account(10_000)
    first = await caller.socket()
    await first.close()
    missed = {await caller.order(100) for _ in range(3)}
    for order_id in missed:
        await caller.decided(order_id)

    async def back() -> Socket | None:
        socket = await caller.socket(query=f"?e={first.welcome['epoch']}&o={first.welcome['offset']}")
        return socket if len(socket.welcome["missed"]) == len(missed) else None

    for _ in range(50):  # the last status change may still be on its way to Redis
        if socket := await back():
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("not all that was missed was given")
    assert socket.welcome["recovered"] is True
    assert {frame["order"]["id"] for frame in socket.welcome["missed"]} == missed
    await socket.silent_for(0.3)


async def test_two_hundred_orders_at_once_all_end_as_their_balance_allows(caller: Caller) -> None:
    await caller.open_account(100 * 150)
    orders = await asyncio.gather(*(caller.order(100) for _ in range(200)))
    decided = await asyncio.gather(*map(caller.decided, orders))
    assert [order["status"] for order in decided].count("FINISHED") == 150
    assert await caller.balance() == 0


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/api/nothing", "/api/ordersx"])
async def test_what_is_not_for_the_outside_is_not_found(caller: Caller, path: str) -> None:
    answer = await caller.call("GET", path)
    assert (answer.status, answer.body["status"]) == (404, 404)
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_the_documents_of_single_services_are_not_served(caller: Caller) -> None:
    answer = await caller.call("GET", "/schema/openapi.json")
    assert answer.headers["Content-Type"] == "text/html"  # the page, as at every address it does not know


async def test_a_body_over_the_limit_is_refused_with_a_problem_document(caller: Caller) -> None:
    answer = await caller.call("POST", "/api/orders", b"x" * 70_000)
    assert answer.status == 413
    assert answer.body["status"] == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_one_openapi_document_describes_all_services(caller: Caller) -> None:
    answer = await caller.call("GET", "/api/openapi.json")
    assert (answer.status, answer.body) == (200, json.loads((ROOT / "docs/openapi/gozon.json").read_text()))


async def test_the_page_is_served_with_its_security_headers(shop: Shop, session: aiohttp.ClientSession) -> None:
    async with session.get(shop.url) as response:
        assert response.status == 200
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "<script" in await response.text()
