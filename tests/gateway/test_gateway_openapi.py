"""How often the gateway requests the OpenAPI documents of services."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway import openapi
from gateway.client import Client
from gateway.openapi import Documents
from shopkit.web.problems import Problem
from shopkit.web.upstreams import Upstream
from tests.conftest import Serve
from tests.servers import StandIn, running, succeeds


@asynccontextmanager
async def documents(service: StandIn) -> AsyncGenerator[Documents]:
    client, upstream = Client(), Upstream("orders", service.url)
    async with running(client, upstream):
        await succeeds(upstream.check)
        yield Documents(client, [upstream], [])


async def described(request: web.Request) -> web.Response:
    return web.json_response({"paths": {"/api/orders": {}}})


def paths(merged: bytes) -> dict[str, Any]:
    return json.loads(merged)["paths"]


async def test_concurrent_callers_share_one_request(serve: Serve) -> None:
    released = asyncio.Event()

    async def slowly(request: web.Request) -> web.Response:
        await released.wait()
        return await described(request)

    service = await serve(slowly)
    async with documents(service) as merged:
        callers = [asyncio.create_task(merged.merged()) for _ in range(20)]
        await asyncio.sleep(0)
        callers[0].cancel()  # the first caller disconnects; the others must still get the document
        released.set()
        answers = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [paths(answer) for answer in answers[1:] if isinstance(answer, bytes)] == [{"/api/orders": {}}] * 19
    assert len(service.seen) == 1


async def test_a_document_is_cached_and_then_read_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    service = await serve(described)
    async with documents(service) as merged:
        monkeypatch.setattr(openapi, "CACHE_SECONDS", 3600)
        assert await merged.merged() is await merged.merged()
        assert len(service.seen) == 1
    async with documents(service) as merged:
        monkeypatch.setattr(openapi, "CACHE_SECONDS", 0)
        assert await merged.merged() == await merged.merged()
        assert len(service.seen) == 3


async def test_an_error_is_cached_for_all_callers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable(_: web.Request) -> web.Response:
        return web.Response(status=503)

    service = await serve(unavailable)
    monkeypatch.setattr(openapi, "CACHE_SECONDS", 3600)
    async with documents(service) as merged:
        for _ in range(3):
            with pytest.raises(Problem) as problem:
                await merged.merged()
            assert problem.value.status == 503
    assert len(service.seen) == 1
