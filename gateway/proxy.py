"""Passing a request on to a replica and its answer back, both as streams.

A request is tried at another replica only when no connection could be made, so nothing was sent. A
request that may have arrived is never repeated: 502 says that its fate is not known. The one exception is
a safe request (GET, HEAD, OPTIONS) on a connection that the replica had let go, see `Client.request`.
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

# Longer bodies, and those that come without a length, are streamed.
WHOLE_BODY = 64 * 1024
# Our own server dates its answers, and takes none of these with a length.
DATE = frozenset({b"date"})
DATE_AND_LENGTH = frozenset({b"date", b"content-length"})

REFUSED = Counter("gozon_upstream_refused", "Replicas that could not be connected to", ["upstream"])
FAILED = Counter("gozon_upstream_failed", "Requests answered with 502 or 504", ["upstream", "status"])

log = structlog.get_logger()


class ClientLeft(Exception):
    """The client broke off its own request."""


class Proxy:
    """An ASGI application, mounted at `prefix`, that passes everything on to one upstream."""

    def __init__(self, client: Client, prefix: str, upstream: Upstream) -> None:
        self._client = client
        self._inside = re.compile(re.escape(prefix.encode()) + rb"(?:/|$)")
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if not self._inside.match(scope["raw_path"]):  # Litestar mounts /api/ordersx under /api/orders as well
            raise NotFoundException
        with suppress(ClientLeft):
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        body, rest = await _body(scope, receive)
        request = encode(scope, body)
        for target in self._upstream.in_order():
            target.busy += 1
            try:
                answer = await self._client.request(target, scope["method"], request, rest)
                return await _pass_back(answer, receive if rest is None else None, send)
            except Unreachable:
                target.refused()
                REFUSED.labels(self._upstream.name).inc()
            except TimeoutError as error:
                raise self._failed(HTTPStatus.GATEWAY_TIMEOUT, "did not answer in time") from error
            except ConnectionBroken as error:
                raise self._failed(HTTPStatus.BAD_GATEWAY, "broke off before it answered") from error
            finally:
                target.busy -= 1
        raise self._failed(HTTPStatus.BAD_GATEWAY, "cannot be reached")

    def _failed(self, status: HTTPStatus, what: str) -> Problem:
        FAILED.labels(self._upstream.name, str(status.value)).inc()
        return Problem(status, status.name.lower().replace("_", "-"), f"The service {self._upstream.name} {what}.")


async def _body(scope: HTTPScope, receive: Receive) -> tuple[bytes | None, AsyncIterator[bytes] | None]:
    """The whole body where it comes at once or is known to be short, otherwise a stream of it."""
    first = await _part(receive)
    if not first.get("more_body"):
        return first.get("body", b""), None
    rest = _stream(first.get("body", b""), receive)
    length = dict(scope["headers"]).get(b"content-length")
    if length is None or int(length) > WHOLE_BODY:
        return None, rest
    return b"".join([part async for part in rest]), None


async def _stream(chunk: bytes, receive: Receive) -> AsyncIterator[bytes]:
    yield chunk
    more = True
    while more:
        message = await _part(receive)
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def _part(receive: Receive) -> HTTPRequestEvent:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return cast("HTTPRequestEvent", message)


async def _pass_back(answer: UpstreamResponse, receive: Receive | None, send: Send) -> None:
    """`receive` tells when the client leaves; there is none while its body is still on its way."""
    await send(_start(answer))
    if answer.body is not None:
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})
        return
    watch = asyncio.create_task(_leave_with_client(answer, receive)) if receive is not None else None
    try:
        while part := await answer.next_chunk():
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except (ConnectionBroken, TimeoutError) as error:
        log.warning("answer cut short", error=repr(error))
        return  # without an end, so that the server closes the connection and the client sees the cut
    finally:
        answer.leave()
        if watch is not None:
            watch.cancel()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _leave_with_client(answer: UpstreamResponse, receive: Receive) -> None:
    with suppress(ClientLeft):
        while True:
            await _part(receive)
    answer.leave(ClientLeft())


def _start(answer: UpstreamResponse) -> HTTPResponseStartEvent:
    dropped = hop_by_hop(answer.headers)
    ours = DATE_AND_LENGTH if answer.status in (204, 304) else DATE
    return {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [(name, value) for name, value in answer.headers if name not in dropped and name not in ours],
    }
