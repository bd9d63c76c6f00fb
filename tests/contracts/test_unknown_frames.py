"""Every client ignores frames of unknown types, as docs/push.md promises.

web/src/socket.test.ts and tests/browser/test_connection_of_the_page.py send the same frame to the page.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

import loadtest.faults.page
import loadtest.load.users
from loadtest.load.frames import decode
from loadtest.load.journeys import Journeys
from loadtest.load.target import LoadTarget
from tests.conftest import Serve
from tests.contracts import asyncapi
from tests.support import Caller, eventually

UNKNOWN = Path(__file__).with_name("unknown_frame.json").read_text()
MESSAGES = asyncapi.document()["components"]["messages"]
WELCOME, ORDER, PING = (MESSAGES[name]["examples"][0]["payload"] for name in ("welcome", "order", "ping"))
ORDER_ID = ORDER["order"]["id"]


async def visit_with_load_tool(session: aiohttp.ClientSession, url: str) -> None:
    user = loadtest.load.users.User("alice", False, LoadTarget(url, connections=1), Journeys())
    await user.set_up(pages=1)

    async def order_is_shown_by_user() -> bool:
        return ORDER_ID in user.toasted_at

    await eventually(order_is_shown_by_user)
    assert [page.why_lost for page in user.pages] == [""]
    user.close_pages()


async def visit_with_fault_tool(session: aiohttp.ClientSession, url: str) -> None:
    page = loadtest.faults.page.PageUnderFaults(session, url, "alice")
    running = asyncio.create_task(page.run())

    async def order_is_shown() -> bool:
        return ORDER_ID in page.shown

    await eventually(order_is_shown)
    assert not running.done()
    assert not page.closes
    running.cancel()


async def visit_with_test_socket(session: aiohttp.ClientSession, url: str) -> None:
    socket = await Caller(session, url).socket()
    assert (await socket.next_order())["order"]["id"] == ORDER_ID
    assert socket.given == [ORDER]


@pytest.mark.parametrize("visit", [visit_with_load_tool, visit_with_fault_tool, visit_with_test_socket])
async def test_an_unknown_frame_is_ignored(
    visit: Callable[[aiohttp.ClientSession, str], Awaitable[None]], session: aiohttp.ClientSession, serve: Serve
) -> None:
    heard: list[Any] = []

    async def pushes(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.json_response({"ticket": "a-ticket", "expires_in": 30}, status=201)
        socket = web.WebSocketResponse(protocols=["gozon.v1"])
        await socket.prepare(request)
        for frame in (json.dumps(WELCOME), UNKNOWN, json.dumps(PING), json.dumps(ORDER)):
            await socket.send_str(frame)
        async for message in socket:
            heard.append(json.loads(message.data))
        return socket

    async def ping_was_answered() -> bool:
        return {"type": "pong"} in heard

    await visit(session, (await serve(pushes)).url)
    await eventually(ping_was_answered)


def test_the_load_tool_ignores_unknown_types_only() -> None:
    assert decode(UNKNOWN.encode()) is None
    for broken in (b'{"type":"order"}', b'{"type":5}', b"{}", b"[]"):
        with pytest.raises(msgspec.ValidationError):
            decode(broken)
