import asyncio

import aiohttp
from aiohttp import web

from tests.conftest import Serve, Spawn
from tests.support import Caller, Replica, eventually, free_port, said


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response({"path": request.path_qs, "method": request.method, "size": len(body)}, status=207)


async def gateway(spawn: Spawn, orders: str) -> Replica:
    nowhere = f"http://127.0.0.1:{free_port()}"
    return await spawn(
        "gateway", ORDERS_URLS=orders, PAYMENTS_URLS=nowhere, NOTIFIER_URLS=nowhere, WEB_URLS=nowhere
    )


async def test_method_path_query_status_and_headers_are_forwarded(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession
) -> None:
    service = await serve(echo)
    caller = Caller(session, (await gateway(spawn, service.url)).url)

    answer = await caller.call("PATCH", "/api/orders/a%2Fb?x=1&y=%20", {"a": 1}, X_Request_Id="r-1")

    assert answer.status == 207
    assert answer.body == {"path": "/api/orders/a%2Fb?x=1&y=%20", "method": "PATCH", "size": 8}
    headers = service.seen[0].headers
    assert headers["X-User-Id"] == caller.user_id
    assert headers["X-Request-Id"] == "r-1"
    assert len(headers["traceparent"]) == 55
    assert answer.headers.getall("Date").__len__() == 1  # type: ignore[attr-defined]


async def test_a_traceparent_is_forwarded_and_hop_by_hop_headers_are_not(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession
) -> None:
    async def answers(_: web.Request) -> web.Response:
        return web.Response(headers={"Keep-Alive": "timeout=1", "X-Mine": "1"})

    service = await serve(answers)
    caller = Caller(session, (await gateway(spawn, service.url)).url)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    answer = await caller.call(
        "GET", "/api/orders", traceparent=trace, TE="trailers", Connection="X-Private", X_Private="1"
    )

    headers = service.seen[0].headers
    assert headers["traceparent"] == trace
    assert not {"TE", "X-Private", "Keep-Alive"} & set(headers)
    assert "Keep-Alive" not in answer.headers
    assert answer.headers["X-Mine"] == "1"


async def test_a_trailer_cannot_set_the_user(spawn: Spawn, serve: Serve) -> None:
    service = await serve(echo)
    replica = await gateway(spawn, service.url)
    head = "POST /api/orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = "2\r\n{}\r\n0\r\nX-User-Id: ann\r\n\r\n"
    answer = await said("127.0.0.1", replica.port, (head + body).encode())
    assert (answer.status, answer.body["size"]) == (207, 2)
    assert "X-User-Id" not in service.seen[0].headers


async def test_a_response_is_streamed_before_it_is_complete(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession
) -> None:
    first_part_read = asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await first_part_read.wait()
        await response.write(b"second")
        return response

    service = await serve(slowly)
    replica = await gateway(spawn, service.url)
    async with session.get(replica.url + "/api/orders") as response:
        assert await response.content.readany() == b"first"
        first_part_read.set()
        assert await response.content.read() == b"second"


async def test_an_unavailable_service_gives_502_and_an_unknown_path_404(
    spawn: Spawn, session: aiohttp.ClientSession
) -> None:
    caller = Caller(session, (await gateway(spawn, f"http://127.0.0.1:{free_port()}")).url)
    unavailable = await caller.call("GET", "/api/orders?x=1")
    unknown = await caller.call("GET", "/api/ordersx")
    assert (unavailable.status, unavailable.body["status"]) == (502, 502)
    assert unavailable.body["instance"] == "/api/orders"
    assert (unknown.status, unknown.body["status"]) == (404, 404)
    assert unavailable.headers["Content-Type"] == unknown.headers["Content-Type"] == "application/problem+json"


async def test_a_post_that_may_have_arrived_is_not_repeated(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession
) -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    services = [await serve(hang_up), await serve(hang_up)]
    caller = Caller(session, (await gateway(spawn, ",".join(service.url for service in services))).url)

    answer = await caller.call("POST", "/api/orders", {})

    assert answer.status == 502
    assert sum(len(service.seen) for service in services) == 1


async def test_no_request_fails_if_one_replica_refuses_connections(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession
) -> None:
    service = await serve(echo)
    caller = Caller(session, (await gateway(spawn, f"http://127.0.0.1:{free_port()},{service.url}")).url)
    answers = [await caller.call("POST", "/api/orders", {}) for _ in range(20)]
    assert {answer.status for answer in answers} == {207}


async def test_requests_are_spread_over_the_replicas(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession
) -> None:
    services = [await serve(echo), await serve(echo)]
    caller = Caller(session, (await gateway(spawn, ",".join(service.url for service in services))).url)
    for _ in range(40):
        await caller.call("GET", "/api/orders")
    assert min(len(service.seen) for service in services) >= 5


async def test_long_bodies_are_streamed_in_both_directions(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession
) -> None:
    async def mirror(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for part in request.content.iter_any():
            await response.write(part)
        return response

    service = await serve(mirror)
    replica = await gateway(spawn, service.url)
    body = bytes(range(256)) * 4000
    async with session.post(replica.url + "/api/orders", data=body) as response:
        assert await response.read() == body
    assert service.seen[0].headers["Transfer-Encoding"] == "chunked"


async def test_a_client_disconnect_closes_the_connection_to_the_service(
    spawn: Spawn, serve: Serve, session: aiohttp.ClientSession
) -> None:
    async def without_end(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await asyncio.Event().wait()
        return response

    service = await serve(without_end)
    replica = await gateway(spawn, service.url)
    async with session.get(replica.url + "/api/orders") as response:
        assert await response.content.readany() == b"first"

    async def service_connection_is_closed() -> bool:
        transport = service.seen[0].transport
        return transport is None or transport.is_closing()

    await eventually(service_connection_is_closed)
