"""Nothing is read while nobody asks, and what is read is bounded in time, number and size."""

import asyncio
import time

import pytest
from aiohttp import web

from backstage.latest import CACHE_SECONDS
from backstage.replicas import METRICS_LIMIT, REPLICAS_LIMIT, RESPONSE_SECONDS
from tests.backstage.conftest import LookAt
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


async def of_no_length(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(metrics("orders", "of no length").encode())
    return response


async def no_text(_: web.Request) -> web.Response:
    return web.Response(body=metrics("orders", "no text").encode() + b"\xff")


async def stranger(_: web.Request) -> web.Response:
    return web.Response(text="<html>")


@pytest.mark.parametrize("ill", [silent, stuck_halfway, broken, too_long, of_no_length, no_text, stranger])
async def test_a_replica_that_is_ill_is_left_out_and_holds_up_nobody(
    look_at: LookAt, serve: Serve, ill: Handler
) -> None:
    among_orders, well, other = await serve(ill), await serve(orders), await serve(notifier)
    view = await look_at(orders=f"{among_orders.url},{well.url}", notifier=other.url)
    started = time.monotonic()
    assert set(await view.replicas()) == {"n", well.url.rpartition(":")[2]}
    assert time.monotonic() - started < RESPONSE_SECONDS + 2
    assert among_orders.seen


async def test_those_who_ask_together_share_one_reading(look_at: LookAt, serve: Serve) -> None:
    replica = await serve(slow)
    view = await look_at(orders=replica.url)
    assert replica.seen == []

    seen = await asyncio.gather(*(view.now() for _ in range(50)))
    # One if all of them arrive in time; on a machine that is busy, a snapshot may have aged in between.
    assert 1 <= len({snapshot["at"] for snapshot in seen}) == len(replica.seen) <= 3

    so_far = len(replica.seen)
    await asyncio.sleep(CACHE_SECONDS + RESPONSE_SECONDS)
    assert len(replica.seen) == so_far  # nobody has asked
    await view.now()
    assert len(replica.seen) == so_far + 1


async def test_of_too_many_replicas_some_of_every_service_are_read(look_at: LookAt, serve: Serve) -> None:
    many = [await serve(orders) for _ in range(REPLICAS_LIMIT + 2)]
    other = await serve(notifier)
    view = await look_at(orders=",".join(replica.url for replica in many), notifier=other.url)
    replicas = await view.replicas()
    assert len(replicas) == REPLICAS_LIMIT - 2  # the two addresses where nobody is count as well
    assert "n" in replicas
