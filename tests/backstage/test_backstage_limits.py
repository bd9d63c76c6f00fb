"""Backstage scrapes on request only, and limits the time, number and size of the responses that it reads."""

import asyncio
import time

import pytest
from aiohttp import web

from backstage.latest import CACHE_SECONDS
from backstage.replicas import METRICS_LIMIT, REPLICAS_LIMIT, RESPONSE_SECONDS
from tests.backstage.conftest import StartBackstage
from tests.conftest import Serve
from tests.servers import Handler


def metrics(service: str, replica: object) -> str:
    return f'gozon_build_info{{replica="{replica}",service="{service}"}} 1.0\n'


async def orders(request: web.Request) -> web.Response:
    return web.Response(text=metrics("orders", request.url.port))


async def notifier(_: web.Request) -> web.Response:
    return web.Response(text=metrics("notifier", "n"))


async def slow(_: web.Request) -> web.Response:
    await asyncio.sleep(RESPONSE_SECONDS / 5)
    return web.Response(text=metrics("orders", "slow"))


async def silent(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def stuck_halfway(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(metrics("orders", "stuck").encode())
    return await silent(request)


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=500, text=metrics("orders", "broken"))


async def too_long(_: web.Request) -> web.Response:
    return web.Response(text=metrics("orders", "too long") + "#" * METRICS_LIMIT)


async def without_length(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(metrics("orders", "without length").encode())
    return response


async def not_utf_8(_: web.Request) -> web.Response:
    return web.Response(body=metrics("orders", "not utf-8").encode() + b"\xff")


async def not_metrics(_: web.Request) -> web.Response:
    return web.Response(text="<html>")


@pytest.mark.parametrize(
    "faulty", [silent, stuck_halfway, broken, too_long, without_length, not_utf_8, not_metrics]
)
async def test_a_faulty_replica_is_left_out_and_delays_no_other(
    start_backstage: StartBackstage, serve: Serve, faulty: Handler
) -> None:
    faulty_replica, healthy, other = await serve(faulty), await serve(orders), await serve(notifier)
    view = await start_backstage(orders=f"{faulty_replica.url},{healthy.url}", notifier=other.url)
    started = time.monotonic()
    assert set(await view.replicas()) == {"n", healthy.url.rpartition(":")[2]}
    assert time.monotonic() - started < RESPONSE_SECONDS + 2
    assert faulty_replica.seen


async def test_concurrent_requests_share_one_scrape(start_backstage: StartBackstage, serve: Serve) -> None:
    replica = await serve(slow)
    view = await start_backstage(orders=replica.url)
    assert replica.seen == []

    seen = await asyncio.gather(*(view.now() for _ in range(50)))
    # They share one snapshot if all arrive in time. On a busy machine, a snapshot can expire in between.
    assert 1 <= len({snapshot["at"] for snapshot in seen}) == len(replica.seen) <= 3

    so_far = len(replica.seen)
    await asyncio.sleep(CACHE_SECONDS + RESPONSE_SECONDS)
    assert len(replica.seen) == so_far  # there was no request
    await view.now()
    assert len(replica.seen) == so_far + 1


async def test_above_the_replica_limit_some_replicas_of_every_service_are_read(
    start_backstage: StartBackstage, serve: Serve
) -> None:
    many = [await serve(orders) for _ in range(REPLICAS_LIMIT + 2)]
    other = await serve(notifier)
    view = await start_backstage(orders=",".join(replica.url for replica in many), notifier=other.url)
    replicas = await view.replicas()
    assert len(replicas) == REPLICAS_LIMIT - 2  # the two unavailable addresses count as well
    assert "n" in replicas
