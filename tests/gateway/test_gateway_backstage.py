import asyncio

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import Serve, Spawn
from tests.support import Caller, Replica, eventually, free_port

UNKNOWN_NAME = "http://backstage.invalid"


async def documented(_: web.Request) -> web.Response:
    return web.json_response({"paths": {}})


async def described_backstage(request: web.Request) -> web.Response:
    if request.path == "/schema/openapi.json":
        return web.json_response({"paths": {"/api/backstage": {}}})
    return web.json_response({"path": request.path})


async def silence(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def gateway(spawn: Spawn, serve: Serve, **settings: str) -> Replica:
    service = (await serve(documented)).url
    return await spawn(
        "gateway",
        ORDERS_URLS=service,
        PAYMENTS_URLS=service,
        NOTIFIER_URLS=service,
        WEB_URLS=service,
        **settings,
    )


async def described_paths(caller: Caller) -> set[str]:
    answer = await caller.call("GET", "/api/openapi.json")
    assert answer.status == 200
    return set(answer.body["paths"])


@pytest.mark.parametrize("settings", [{}, {"BACKSTAGE_URLS": ""}], ids=["default", "empty"])
async def test_without_backstage_urls_the_path_is_404(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession, settings: dict[str, str]
) -> None:
    caller = Caller(session, (await gateway(spawn, serve, **settings)).url)
    answer = await caller.call("GET", "/api/backstage")
    assert (answer.status, answer.fields()) == (404, set())
    assert await described_paths(caller) == set()


async def test_with_backstage_urls_the_path_is_proxied_and_documented(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession
) -> None:
    backstage = await serve(described_backstage)
    caller = Caller(session, (await gateway(spawn, serve, BACKSTAGE_URLS=backstage.url)).url)
    assert (await caller.call("GET", "/api/backstage")).body == {"path": "/api/backstage"}
    assert await described_paths(caller) == {"/api/backstage"}


@pytest.mark.parametrize("where", ["refused", "unknown name"])
async def test_while_backstage_is_unavailable_only_its_own_path_fails(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession, where: str
) -> None:
    url = UNKNOWN_NAME if where == "unknown name" else f"http://127.0.0.1:{free_port()}"
    replica = await gateway(spawn, serve, BACKSTAGE_URLS=url)  # `spawn` waits until it is ready
    caller = Caller(session, replica.url)
    assert (await caller.call("GET", "/api/backstage")).status == 502
    assert await described_paths(caller) == set()


async def test_while_backstage_hangs_the_other_services_are_documented(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession
) -> None:
    backstage = await serve(silence)
    caller = Caller(session, (await gateway(spawn, serve, BACKSTAGE_URLS=backstage.url)).url)

    async def backstage_was_requested() -> bool:
        async with asyncio.timeout(10):
            assert await described_paths(caller) == set()
        return bool(backstage.seen)

    await eventually(backstage_was_requested)
