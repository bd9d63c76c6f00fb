"""The reverse proxy: forwards a request to a replica and its response to the client, both as streams.

A request is sent to another replica only if no connection could be made, so that nothing was sent. A request that
may have arrived is never repeated: the client receives 502 or 504. The one exception is a safe request (GET, HEAD,
OPTIONS) on an idle connection that the replica closed, see `Client.request`.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from http import HTTPStatus
from typing import cast

import structlog
from litestar.exceptions import NotFoundException
from litestar.types import HTTPRequestEvent, HTTPResponseStartEvent, HTTPScope, Receive, Scope, Send
from prometheus_client import Counter

from gateway.client import Client
from gateway.request import encode, hop_by_hop
from gateway.upstream_response import ConnectionBroken, Unreachable, UpstreamResponse
from shopkit.web.problems import Problem
from shopkit.web.upstreams import Upstream

# A longer request body, or one without a length, is streamed.
BUFFERED_BODY_LIMIT = 64 * 1024
# Response headers that are not forwarded. uvicorn sets the date itself, and forbids a length with 204 and 304.
DATE = frozenset({b"date"})
DATE_AND_LENGTH = frozenset({b"date", b"content-length"})

REFUSED = Counter("gozon_upstream_refused", "Failed attempts to connect to a replica", ["upstream"])
FAILED = Counter("gozon_upstream_failed", "Requests with a 502 or 504 as response", ["upstream", "status"])

log = structlog.get_logger()


class ClientDisconnected(Exception):
    """The client closed its connection before the request or its response was complete."""


class Proxy:
    """An ASGI application, mounted at `prefix`, that forwards every request to one service."""

    def __init__(self, client: Client, prefix: str, upstream: Upstream) -> None:
        self._client = client
        self._in_prefix = re.compile(re.escape(prefix.encode()) + rb"(?:/|$)")
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if not self._in_prefix.match(scope["raw_path"]):  # Litestar's mount /api/orders also matches /api/ordersx
            raise NotFoundException
        with suppress(ClientDisconnected):
            await self._forward(scope, receive, send)

    async def _forward(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        body, stream = await _read_body(scope, receive)
        request = encode(scope, body)
        for target in self._upstream.in_order():
            target.busy += 1
            try:
                response = await self._client.request(target, scope["method"], request, stream)
                return await _send_response(response, receive if stream is None else None, send)
            except Unreachable:
                target.refused()
                REFUSED.labels(self._upstream.name).inc()
            except TimeoutError as error:
                raise self._failed(HTTPStatus.GATEWAY_TIMEOUT, "did not respond in time") from error
            except ConnectionBroken as error:
                raise self._failed(HTTPStatus.BAD_GATEWAY, "closed the connection before it responded") from error
            finally:
                target.busy -= 1
        raise self._failed(HTTPStatus.BAD_GATEWAY, "cannot be reached")

    def _failed(self, status: HTTPStatus, failure: str) -> Problem:
        FAILED.labels(self._upstream.name, str(status.value)).inc()
        detail = f"The service {self._upstream.name} {failure}."
        return Problem(status, status.name.lower().replace("_", "-"), detail)


async def _read_body(scope: HTTPScope, receive: Receive) -> tuple[bytes | None, AsyncIterator[bytes] | None]:
    """Returns either the whole body, or None and a stream of it.

    The body is whole if it arrives in one part, or if its declared length is at most BUFFERED_BODY_LIMIT.
    """
    first = await _receive_part(receive)
    if not first.get("more_body"):
        return first.get("body", b""), None
    stream = _stream(first.get("body", b""), receive)
    length = dict(scope["headers"]).get(b"content-length")
    if length is None or int(length) > BUFFERED_BODY_LIMIT:
        return None, stream
    return b"".join([part async for part in stream]), None


async def _stream(chunk: bytes, receive: Receive) -> AsyncIterator[bytes]:
    yield chunk
    more = True
    while more:
        message = await _receive_part(receive)
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def _receive_part(receive: Receive) -> HTTPRequestEvent:
    """Returns the next part of the request body. Raises ClientDisconnected."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnected
    return cast("HTTPRequestEvent", message)


async def _send_response(response: UpstreamResponse, receive: Receive | None, send: Send) -> None:
    """Sends the response to the client, and closes the upstream connection if the client disconnects.

    `receive` reports the disconnect. It is None if the request body is still being streamed: the stream uses it.
    """
    await send(_start_message(response))
    if response.body is not None:
        await send({"type": "http.response.body", "body": response.body, "more_body": False})
        return
    watch = asyncio.create_task(_abandon_on_disconnect(response, receive)) if receive is not None else None
    try:
        while part := await response.next_chunk():
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except (ConnectionBroken, TimeoutError) as error:
        log.warning("response of a replica is incomplete", error=repr(error))
        return  # without a last part, so uvicorn closes the connection and the client notices the truncation
    finally:
        response.abandon()
        if watch is not None:
            watch.cancel()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _abandon_on_disconnect(response: UpstreamResponse, receive: Receive) -> None:
    with suppress(ClientDisconnected):
        while True:
            await _receive_part(receive)
    response.abandon(ClientDisconnected())


def _start_message(response: UpstreamResponse) -> HTTPResponseStartEvent:
    dropped = hop_by_hop(response.headers) | (DATE_AND_LENGTH if response.status in (204, 304) else DATE)
    return {
        "type": "http.response.start",
        "status": response.status,
        "headers": [(name, value) for name, value in response.headers if name not in dropped],
    }
