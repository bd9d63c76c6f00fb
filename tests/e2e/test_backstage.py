"""The snapshot of `/api/backstage`, requested from a whole shop through nginx."""

from typing import Any

import aiohttp

from tests.conftest import Shop
from tests.support import Caller, eventually

SERVICES = {"orders", "payments", "notifier", "gateway"}


async def get_snapshot(session: aiohttp.ClientSession, shop: Shop) -> dict[str, Any]:
    async with session.get(shop.url + "/api/backstage") as response:  # without X-User-Id
        assert response.status == 200
        return await response.json()


async def test_the_snapshot_shows_the_replicas_that_handled_an_order(
    caller: Caller, shop: Shop, session: aiohttp.ClientSession
) -> None:
    await caller.open_account(100)
    sockets = [await caller.socket() for _ in range(9)]
    order = await caller.decided(await caller.order(100))
    expected = {hop["replica"] for hop in order["journey"]} | {socket.replica for socket in sockets}

    async def replicas_are_shown() -> bool:
        replicas = (await get_snapshot(session, shop))["replicas"]
        services = {replica["service"] for replica in replicas}
        return services == {"orders", "payments", "notifier", "gateway"} and expected <= {
            r["name"] for r in replicas
        }

    await eventually(replicas_are_shown)


async def test_the_snapshot_lists_all_replicas_in_order(shop: Shop, session: aiohttp.ClientSession) -> None:
    running = [
        (service, replica["name"])
        for service, replicas in sorted(shop.servers["replicas"].items())
        for replica in sorted(replicas, key=lambda replica: replica["name"])
        if service != "backstage"
    ]

    async def replicas_are_shown() -> bool:
        replicas = (await get_snapshot(session, shop))["replicas"]
        return [(replica["service"], replica["name"]) for replica in replicas] == running

    await eventually(replicas_are_shown)


async def test_the_snapshot_of_a_healthy_shop_has_no_unknown_numbers(
    shop: Shop, session: aiohttp.ClientSession
) -> None:
    async def all_numbers_are_known() -> bool:
        snapshot = await get_snapshot(session, shop)
        figures = [*snapshot["waiting"].values(), *(queue["messages"] for queue in snapshot["queues"])]
        return len(figures) == 6 and None not in figures

    await eventually(all_numbers_are_known)


async def test_the_openapi_document_of_the_shop_describes_backstage(caller: Caller) -> None:
    assert "/api/backstage" in (await caller.call("GET", "/api/openapi.json")).body["paths"]
