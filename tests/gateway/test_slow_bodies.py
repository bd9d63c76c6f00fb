"""Bodies that take too long to arrive.

The clients speak to the gateway itself. nginx would wait for a whole body before it asks the gateway.
"""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from gateway import body
from gateway.body import Bodies, TooSlow
from tests.conftest import Serve, Spawn
from tests.servers import running
from tests.support import Answer, free_port, parsed, said

ORDER = b"POST /api/orders HTTP/1.1\r\nHost: x\r\n"
DRIP_SECONDS = 0.5


async def drip(port: int, head: bytes, drop: bytes) -> Answer:
    """Returns the answer to a client that sends a `drop` now and then until the gateway closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ORDER + head)
    reading = asyncio.create_task(reader.read())
    while not reading.done():
        writer.write(drop)
        await asyncio.wait([reading], timeout=DRIP_SECONDS)
    writer.close()
    return parsed(reading.result())


async def test_a_slow_body_gets_408_and_its_connections_end(spawn: Spawn, serve: Serve) -> None:
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
    assert first == streamed, "a connection that had rested was taken from the pool"
    assert after != streamed


async def test_the_limit_counts_the_waits_for_the_client_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(body, "LOOK_SECONDS", 0.01)
    held_up = asyncio.Event()

    async def receive() -> Any:
        if held_up.is_set():
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"part", "more_body": True}

    bodies = Bodies()
    async with running(bodies):
        _, rest = await bodies.read({"headers": []}, receive)  # type: ignore[typeddict-item]
        assert rest is not None
        for _ in range(4):
            assert await anext(rest) == b"part"
            await asyncio.sleep(0.2)  # the replica takes its time
        held_up.set()
        with pytest.raises(TooSlow):
            await anext(rest)


async def test_a_client_whose_request_is_cancelled_is_not_called_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = Bodies()
    async with running(bodies):
        reading = asyncio.create_task(bodies.read({"headers": []}, asyncio.Event().wait))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
