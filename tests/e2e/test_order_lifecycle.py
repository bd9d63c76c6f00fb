"""Orders, accounts and toasts of a whole shop, requested through nginx. Works with any running shop (GOZON_URL)."""

import asyncio
import json

import aiohttp
import pytest

from tests.conftest import Shop
from tests.support import ROOT, Caller, Socket


async def test_an_order_is_paid_and_the_user_gets_a_toast(caller: Caller) -> None:
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


async def test_an_order_above_the_balance_is_cancelled(caller: Caller) -> None:
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


async def test_every_socket_of_a_user_gets_each_toast_once_and_other_users_get_none(
    caller: Caller, session: aiohttp.ClientSession
) -> None:
    other = Caller(session, caller.url)
    await caller.open_account(10_000)
    sockets = [await caller.socket() for _ in range(9)]
    socket_of_other = await other.socket()
    replicas = {socket.replica for socket in sockets}
    assert len(replicas) >= 2, f"all sockets are on {replicas}"

    orders = {await caller.order(100) for _ in range(5)}

    async def next_orders(socket: Socket) -> list[str]:
        return [(await socket.next_order())["order"]["id"] for _ in orders]

    for ids in await asyncio.gather(*map(next_orders, sockets)):
        assert sorted(ids) == sorted(orders)
    await socket_of_other.silent_for(0.5)
    assert [await socket.silent_for(0.1) for socket in sockets] == [None] * len(sockets)
    for socket in [*sockets, socket_of_other]:
        await socket.close()


async def test_a_client_that_reconnects_receives_the_missed_frames(caller: Caller) -> None:
    await caller.open_account(10_000)
    first = await caller.socket()
    await first.close()
    missed = {await caller.order(100) for _ in range(3)}
    for order_id in missed:
        await caller.decided(order_id)

    async def reconnect() -> Socket | None:
        socket = await caller.socket(query=f"?e={first.welcome['epoch']}&o={first.welcome['offset']}")
        return socket if len(socket.welcome["missed"]) == len(missed) else None

    for _ in range(50):  # the last status change may still be on its way to Redis
        if socket := await reconnect():
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("missed frames were not sent")
    assert socket.welcome["recovered"] is True
    assert {frame["order"]["id"] for frame in socket.welcome["missed"]} == missed
    await socket.silent_for(0.3)


async def test_of_two_hundred_simultaneous_orders_the_balance_pays_exactly_150(caller: Caller) -> None:
    await caller.open_account(100 * 150)
    orders = await asyncio.gather(*(caller.order(100) for _ in range(200)))
    decided = await asyncio.gather(*map(caller.decided, orders))
    assert [order["status"] for order in decided].count("FINISHED") == 150
    assert await caller.balance() == 0


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/api/nothing", "/api/ordersx"])
async def test_internal_and_unknown_addresses_are_not_found(caller: Caller, path: str) -> None:
    answer = await caller.call("GET", path)
    assert (answer.status, answer.body["status"]) == (404, 404)
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_the_openapi_documents_of_single_services_are_not_served(caller: Caller) -> None:
    answer = await caller.call("GET", "/schema/openapi.json")
    assert (
        answer.headers["Content-Type"] == "text/html"
    )  # the web page, which nginx serves at every unknown address


async def test_a_body_over_the_limit_is_rejected_with_a_problem_document(caller: Caller) -> None:
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
