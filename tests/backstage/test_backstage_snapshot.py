import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from gozon.topology import TOPOLOGY
from tests.backstage.conftest import StartBackstage
from tests.conftest import Spawn
from tests.servers import Broker, Forwarder
from tests.support import Caller, eventually

ORIGIN = "http://shop.test"
UNKNOWN = dict.fromkeys((queue.name for queue in TOPOLOGY), None)
EMPTY = dict.fromkeys(UNKNOWN, 0)


async def test_the_snapshot_counts_processed_orders(
    spawn: Spawn,
    start_backstage: StartBackstage,
    servers: dict[str, Any],
    session: aiohttp.ClientSession,
    orders_url: str,
    payments_url: str,
    broker_url: str,
) -> None:
    orders, payments, notifier = await asyncio.gather(
        spawn("orders", DATABASE_URL=orders_url, BROKER_URL=broker_url),
        spawn("payments", DATABASE_URL=payments_url, BROKER_URL=broker_url),
        spawn("notifier", BROKER_URL=broker_url, REDIS_URL=servers["redis"], ALLOWED_ORIGINS=ORIGIN),
    )
    urls = {"ORDERS_URLS": orders.url, "PAYMENTS_URLS": payments.url, "NOTIFIER_URLS": notifier.url}
    gateway = await spawn("gateway", **urls, WEB_URLS=orders.url)
    view = await start_backstage(
        orders=orders.url, payments=payments.url, notifier=notifier.url, gateway=gateway.url, broker=broker_url
    )
    caller = Caller(session, gateway.url)
    await caller.open_account(100)
    socket = await caller.socket(notifier.url, origin=ORIGIN)
    for amount in (60, 40, 1):
        await caller.order(amount)
        await socket.next_order()

    async def everything_has_passed() -> dict[str, Any] | None:
        """An outbox row is deleted, and a message acknowledged, only after its effects. So this waits for both."""
        seen = await view.now()
        waits = [*seen["waiting"].values(), *(queue["messages"] for queue in seen["queues"])]
        return seen if waits == [0] * len(waits) and len(seen["replicas"]) == 4 else None

    seen = await eventually(everything_has_passed)
    assert seen is not None
    toasts = seen["replicas"][1].pop("toasts")
    assert seen["replicas"] == [
        {"service": "gateway", "name": gateway.name},
        {"service": "notifier", "name": notifier.name, "sockets": 1, "delivered": 3},
        {"service": "orders", "name": orders.name, "accepted": 3, "finished": 2, "cancelled": 1},
        {"service": "payments", "name": payments.name, "paid": 2, "declined": 1},
    ]
    assert (len(toasts), toasts[-1]) == (len(seen["toast_buckets"]) + 1, 3)
    assert toasts == sorted(toasts)
    assert seen["toast_buckets"] == sorted(seen["toast_buckets"])
    assert datetime.now(UTC) - datetime.fromisoformat(seen["at"]) < timedelta(seconds=60)


async def test_an_unavailable_replica_is_left_out_and_unknown_counts_are_null(
    spawn: Spawn,
    start_backstage: StartBackstage,
    session: aiohttp.ClientSession,
    orders_url: str,
    broker_url: str,
    way_to: Callable[[str], Forwarder],
) -> None:
    to_database = way_to(orders_url)
    await to_database.open()
    orders = await spawn("orders", DATABASE_URL=to_database.url, BROKER_URL=broker_url)
    view = await start_backstage(orders=orders.url, broker=broker_url)
    await Caller(session, orders.url).order(1)

    expected = [{"service": "orders", "name": orders.name, "accepted": 1, "finished": 0, "cancelled": 0}]

    async def order_waits_for_payments() -> bool:
        """A snapshot reads queues and replicas concurrently, so it can miss an order that moves between them."""
        seen = await view.now()
        of_payments = {"payments_outbox": None, "payments_inbox": None}
        as_expected = (seen["replicas"], seen["waiting"]) == (expected, {"orders_outbox": 0} | of_payments)
        return as_expected and await view.queues() == EMPTY | {"payments.order-created": 1}

    await eventually(order_waits_for_payments)

    await to_database.cut()

    async def only_its_rows_are_unknown() -> bool:
        seen = await view.now()
        return (seen["replicas"], seen["waiting"]["orders_outbox"]) == (expected, None)

    await eventually(only_its_rows_are_unknown)

    await orders.kill()

    async def no_replica_responds() -> bool:
        return (await view.now())["replicas"] == []

    await eventually(no_replica_responds)


async def test_queue_depths_are_null_while_the_broker_is_unavailable(
    start_backstage: StartBackstage,
    session: aiohttp.ClientSession,
    broker: Broker,
    broker_url: str,
    way_to: Callable[[str], Forwarder],
) -> None:
    await broker.publish_body("order.created", b"[]")
    to_broker = way_to(broker_url)
    view = await start_backstage(broker=to_broker.url)
    assert await view.queues() == UNKNOWN

    async def known() -> bool:
        return await view.queues() == EMPTY | {"payments.order-created": 1}

    async def unknown() -> bool:
        async with asyncio.timeout(5):
            return await view.queues() == UNKNOWN

    await to_broker.open()
    await eventually(known)

    await to_broker.cut()
    await eventually(unknown)
    assert (await view.replica.readiness(session))[0] == 200
    await to_broker.open()
    await eventually(known)

    to_broker.hold()
    await eventually(unknown)
    to_broker.resume(forget=True)
    await eventually(known)


async def test_every_field_of_the_schema_has_a_description(
    start_backstage: StartBackstage, session: aiohttp.ClientSession
) -> None:
    view = await start_backstage()
    async with session.get(view.replica.url + "/schema/openapi.json") as response:
        everything = (await response.json())["components"]["schemas"]
    schemas = {name: schema for name, schema in everything.items() if name not in ("ProblemDocument", "FieldError")}
    fields = {(name, field): about for name in schemas for field, about in schemas[name]["properties"].items()}
    assert ("Snapshot", "waiting") in fields
    assert [field for field, about in fields.items() if "description" not in about and field[1] != "service"] == []
    assert all(set(schema["required"]) == set(schema["properties"]) for schema in schemas.values())
