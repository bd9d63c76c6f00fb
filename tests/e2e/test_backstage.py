"""What goes on behind the scenes, through the front door of a whole shop."""

from typing import Any

import aiohttp

from tests.conftest import Shop
from tests.support import Caller, eventually

SERVICES = {"orders", "payments", "notifier", "gateway"}


async def shown(session: aiohttp.ClientSession, shop: Shop) -> dict[str, Any]:
    async with session.get(shop.url + "/api/backstage") as response:  # in nobody's name
        assert response.status == 200
        return await response.json()


async def test_the_replicas_that_handle_an_order_are_among_those_shown(
    caller: Caller, shop: Shop, session: aiohttp.ClientSession
) -> None:
    await caller.open_account(100)
    sockets = [await caller.socket() for _ in range(9)]
    order = await caller.decided(await caller.order(100))
    at_work = {hop["replica"] for hop in order["journey"]} | {socket.replica for socket in sockets}

    async def they_are_shown() -> bool:
        replicas = (await shown(session, shop))["replicas"]
        services = {replica["service"] for replica in replicas}
        return services == {"orders", "payments", "notifier", "gateway"} and at_work <= {
            r["name"] for r in replicas
        }

    await eventually(they_are_shown)


async def test_every_replica_of_the_shop_is_shown_in_order(shop: Shop, session: aiohttp.ClientSession) -> None:
    running = [
        (service, replica["name"])
        for service, replicas in sorted(shop.servers["replicas"].items())
        for replica in sorted(replicas, key=lambda replica: replica["name"])
        if service != "backstage"
    ]

    async def they_are_shown() -> bool:
        replicas = (await shown(session, shop))["replicas"]
        return [(replica["service"], replica["name"]) for replica in replicas] == running

    await eventually(they_are_shown)


async def test_nothing_is_unknown_in_a_shop_that_is_well(shop: Shop, session: aiohttp.ClientSession) -> None:
    async def all_is_known() -> bool:
        seen = await shown(session, shop)
        figures = [*seen["waiting"].values(), *(queue["messages"] for queue in seen["queues"])]
        return len(figures) == 6 and None not in figures

    await eventually(all_is_known)


async def test_it_is_described_beside_the_other_services(caller: Caller) -> None:
    assert "/api/backstage" in (await caller.call("GET", "/api/openapi.json")).body["paths"]
