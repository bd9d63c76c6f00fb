"""Bodies that take too long to arrive.

The clients connect to the gateway directly, because nginx reads the whole body before it sends it on.
"""

import asyncio

from aiohttp import web

from tests.conftest import Serve, Spawn
from tests.support import Answer, free_port, parsed, said

ORDER = b"POST /api/orders HTTP/1.1\r\nHost: x\r\n"
DRIP_SECONDS = 0.5


async def drip(port: int, head: bytes, drop: bytes) -> Answer:
    """Sends a `drop` every DRIP_SECONDS until the gateway closes the connection. Returns the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ORDER + head)
    reading = asyncio.create_task(reader.read())
    while not reading.done():
        writer.write(drop)
        await asyncio.wait([reading], timeout=DRIP_SECONDS)
    writer.close()
    return parsed(reading.result())


async def test_a_slow_body_gets_408_and_its_connections_are_closed(spawn: Spawn, serve: Serve) -> None:
    peers: list[tuple[str, int]] = []

    async def note_peer(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return web.json_response({"read": len(await request.read())})

    nowhere = f"http://127.0.0.1:{free_port()}"
    urls = {f"{name}_URLS": nowhere for name in ("PAYMENTS", "NOTIFIER", "WEB")}
    gateway = await spawn("gateway", ORDERS_URLS=(await serve(note_peer)).url, **urls)

    whole = ORDER + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
    assert (await said("127.0.0.1", gateway.port, whole)).body == {"read": 2}
    answers = await asyncio.gather(
        drip(gateway.port, b"Content-Length: 2\r\n\r\n", b""),
        drip(gateway.port, b"Content-Length: 1000\r\n\r\n", b" "),
        drip(gateway.port, b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    )
    assert (await said("127.0.0.1", gateway.port, whole)).body == {"read": 2}

    for answer in answers:
        assert (answer.status, answer.fields(), answer.headers["Connection"]) == (408, set(), "close")
        assert answer.body["detail"] == "The request took too long to arrive."
    first, streamed, after = peers
    assert first == streamed, "an idle connection of the pool was used again"
    assert after != streamed
