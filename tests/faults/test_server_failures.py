"""A whole shop recovers after its servers are stopped and its replicas are killed."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import aiohttp
from sqlalchemy import Row, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.conftest import Shop
from tests.faults.conftest import all_ready, kill
from tests.support import Answer, Caller, eventually

HEALING_SECONDS = 60


async def rows(shop: Shop, database: str, query: str, **values: Any) -> list[Row[*tuple[Any, ...]]]:
    url = make_url(shop.servers["databases"][database]).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        return list((await connection.execute(text(query), values)).all())


async def check_books(shop: Shop, caller: Caller, orders: list[str], spent: int) -> None:
    """Checks that each order has one debit, and that the balance is the sum of the entries."""
    entries = await rows(
        shop,
        "payments",
        "SELECT * FROM ledger_entries WHERE user_id = :user_id ORDER BY account_version",
        user_id=caller.user_id,
    )
    debits = [str(entry.order_id) for entry in entries if entry.kind == "debit"]
    assert sorted(debits) == sorted(orders)
    assert [entry.account_version for entry in entries] == list(range(1, len(entries) + 1))
    balance = 0
    for entry in entries:
        balance += entry.amount
        assert entry.balance_after == balance
    assert await caller.balance() == balance == sum(e.amount for e in entries if e.amount > 0) - spent


async def readiness(session: aiohttp.ClientSession, replica: dict[str, str]) -> tuple[int, dict[str, str]]:
    async with session.get(replica["url"] + "/health/ready") as response:
        return response.status, (await response.json())["parts"]


async def test_orders_are_accepted_without_the_broker_and_published_after_its_return(
    shop: Shop, caller: Caller, session: aiohttp.ClientSession
) -> None:
    await caller.open_account(100_000)
    socket = await caller.socket()
    await shop.supervisorctl("stop", "rabbitmq")

    orders = [await caller.order(100) for _ in range(20)]
    waiting = await rows(shop, "orders", "SELECT count(*) AS waiting FROM outbox")
    assert waiting[0].waiting >= len(orders)
    status, parts = await readiness(session, shop.servers["replicas"]["orders"][0])
    assert status == 503
    assert parts["database"] == "ok" != parts["broker"]

    await shop.supervisorctl("start", "rabbitmq")
    for order_id in orders:
        assert (await caller.decided(order_id, HEALING_SECONDS))["status"] == "FINISHED"
    toasts = {(await socket.next_order(HEALING_SECONDS))["order"]["id"] for _ in orders}
    assert toasts == set(orders)
    await check_books(shop, caller, orders, 100 * len(orders))

    async def outbox_is_empty() -> bool:
        return (await rows(shop, "orders", "SELECT count(*) AS waiting FROM outbox"))[0].waiting == 0

    await eventually(outbox_is_empty)


async def test_repeated_restarts_of_the_broker_under_load_lose_no_order(shop: Shop, caller: Caller) -> None:
    await caller.open_account(1_000_000)
    placing = asyncio.create_task(place_orders(caller, 400, pause=0.02))
    for _ in range(2):
        await asyncio.sleep(1)
        await shop.supervisorctl("restart", "rabbitmq")
    orders = await placing
    for order_id in orders:
        assert (await caller.decided(order_id, HEALING_SECONDS))["status"] == "FINISHED"
    await check_books(shop, caller, orders, 100 * len(orders))


async def test_killed_payments_replicas_under_load_lose_no_order_and_charge_none_twice(
    shop: Shop, caller: Caller
) -> None:
    await caller.open_account(1_000_000)
    placing = asyncio.create_task(place_orders(caller, 600, pause=0.005))
    for name in ["payments-1", "payments-2", "payments-1"]:
        await asyncio.sleep(0.7)
        await kill(shop, name)
    orders = await placing
    assert len(orders) == 600
    for order_id in orders:
        assert (await caller.decided(order_id, HEALING_SECONDS))["status"] == "FINISHED"
    await check_books(shop, caller, orders, 100 * len(orders))


async def test_killed_orders_replicas_under_load_lose_no_accepted_order(shop: Shop, caller: Caller) -> None:
    await caller.open_account(1_000_000)
    placing = asyncio.create_task(send_orders(caller, 400))
    for name in ["orders-1", "orders-2"]:
        await asyncio.sleep(0.5)
        await kill(shop, name)
        await asyncio.sleep(2)
    answers = await placing
    assert {answer.status for answer in answers} <= {201, 502, 503, 504}
    accepted = [answer.body["id"] for answer in answers if answer.status == 201]
    assert accepted
    for order_id in accepted:
        assert (await caller.decided(order_id, HEALING_SECONDS))["status"] == "FINISHED"


async def test_orders_are_paid_without_redis_and_toasts_come_after_its_return(
    shop: Shop, caller: Caller, session: aiohttp.ClientSession
) -> None:
    await caller.open_account(100_000)
    sockets = [await caller.socket() for _ in range(4)]
    assert len({socket.replica for socket in sockets}) >= 2
    await shop.supervisorctl("stop", "redis")

    orders = [await caller.order(100) for _ in range(10)]
    for order_id in orders:
        assert (await caller.decided(order_id))["status"] == "FINISHED"
    notifier = shop.servers["replicas"]["notifier"][0]

    async def notifier_not_ready() -> bool:
        return (await readiness(session, notifier))[0] == 503

    await eventually(notifier_not_ready)
    ticket = await caller.call("POST", "/api/notifications/tickets")
    assert (ticket.status, ticket.headers["Retry-After"]) == (503, "1")

    await shop.supervisorctl("start", "redis")
    for socket in sockets:
        toasts = [(await socket.next_order(HEALING_SECONDS))["order"]["id"] for _ in orders]
        assert sorted(toasts) == sorted(orders)
    for socket in sockets:
        await socket.silent_for(0.3)


async def test_requests_get_503_without_the_database_and_succeed_after_its_return(
    shop: Shop, caller: Caller, session: aiohttp.ClientSession
) -> None:
    await caller.open_account(100_000)
    await shop.supervisorctl("stop", "postgres")

    for method, path, body in [
        ("POST", "/api/orders", {"amount": 1, "description": "x"}),
        ("GET", "/api/orders", None),
        ("GET", "/api/payments/account", None),
        ("POST", "/api/payments/account/top-ups", {"amount": 1}),
    ]:
        answer = await caller.call(method, path, body)
        assert (answer.status, answer.body["status"]) == (503, 503), answer
        assert answer.headers["Retry-After"] == "1"
    status, parts = await readiness(session, shop.servers["replicas"]["payments"][0])
    assert status == 503
    assert parts["database"] != "ok" == parts["broker"]

    await shop.supervisorctl("start", "postgres")
    await all_ready(shop, session)
    assert (await caller.decided(await caller.order(100)))["status"] == "FINISHED"
    assert await caller.balance() == 99_900


async def test_a_client_that_reconnects_after_a_killed_notifier_misses_no_toast(shop: Shop, caller: Caller) -> None:
    await caller.open_account(100_000)
    socket = await caller.socket()
    orders = [await caller.order(100)]
    last = await socket.next_order()
    await kill(shop, socket.replica)
    orders += [await caller.order(100) for _ in range(5)]
    for order_id in orders:
        await caller.decided(order_id)

    reconnected = await caller.socket(query=f"?e={socket.welcome['epoch']}&o={last['o']}")
    assert reconnected.welcome["recovered"] is True
    toasts = [frame["order"]["id"] for frame in reconnected.welcome["missed"]]
    while len(toasts) < 5:
        toasts.append((await reconnected.next_order())["order"]["id"])
    assert sorted(toasts) == sorted(orders[1:])


async def place_orders(caller: Caller, count: int, pause: float) -> list[str]:
    """Places orders of 100 at a steady pace, without waiting for responses between them."""
    requests: list[Awaitable[str]] = []
    for _ in range(count):
        requests.append(asyncio.create_task(caller.order(100)))
        await asyncio.sleep(pause)
    return list(await asyncio.gather(*requests))


async def send_orders(caller: Caller, count: int) -> list[Answer]:
    requests: list[Awaitable[Answer]] = []
    for _ in range(count):
        body = {"amount": 100, "description": "during failures"}
        requests.append(asyncio.create_task(caller.call("POST", "/api/orders", body)))
        await asyncio.sleep(0.01)
    return list(await asyncio.gather(*requests))
