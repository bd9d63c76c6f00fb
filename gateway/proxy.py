"""Passing a request on to a replica and its answer back, both as streams.

A request is tried at another replica only when no connection could be made, so nothing was sent. A
request that may have arrived is never repeated: 502 says that its fate is not known. The one exception is
a safe request (GET, HEAD, OPTIONS) on a connection that the replica had let go, see `Client.request`.
"""

import asyncio
import re
from contextlib import suppress
from http import HTTPStatus

import structlog
from litestar.exceptions import NotFoundException
from litestar.types import HTTPResponseStartEvent, HTTPScope, Receive, Scope, Send
from prometheus_client import Counter

from gateway.answer import Answer, BrokenOff, Unreachable
from gateway.body import Bodies, ClientLeft, TooSlow
from gateway.client import Client
from gateway.request import encode, hop_by_hop
from shopkit.problems import Problem
from shopkit.upstreams import Upstream

# Our own server dates its answers, and takes none of these with a length.
DATE = frozenset({b"date"})
DATE_AND_LENGTH = frozenset({b"date", b"content-length"})

REFUSED = Counter("gozon_upstream_refused", "Replicas that could not be connected to", ["upstream"])
FAILED = Counter("gozon_upstream_failed", "Requests answered with 502 or 504", ["upstream", "status"])

log = structlog.get_logger()


class Proxy:
    """An ASGI application, mounted at `prefix`, that passes everything on to one upstream."""

    def __init__(self, client: Client, bodies: Bodies, prefix: str, upstream: Upstream) -> None:
        self._client = client
        self._bodies = bodies
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
        body, rest = await self._bodies.read(scope, receive)
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
            except BrokenOff as error:
                raise self._failed(HTTPStatus.BAD_GATEWAY, "broke off before it answered") from error
            finally:
                target.busy -= 1
        raise self._failed(HTTPStatus.BAD_GATEWAY, "cannot be reached")

    def _failed(self, status: HTTPStatus, what: str) -> Problem:
        FAILED.labels(self._upstream.name, str(status.value)).inc()
        return Problem(status, status.name.lower().replace("_", "-"), f"The service {self._upstream.name} {what}.")


async def _pass_back(answer: Answer, receive: Receive | None, send: Send) -> None:
    """`receive` tells when the client leaves; there is none while its body is still on its way."""
    await send(_start(answer))
    if answer.body is not None:
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})
        return
    watch = asyncio.create_task(_leave_with_client(answer, receive)) if receive is not None else None
    try:
        while part := await answer.part():
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except (BrokenOff, TimeoutError, TooSlow) as error:
        log.warning("answer cut short", error=repr(error))
        return  # without an end, so that the server closes the connection and the client sees the cut
    finally:
        answer.leave()
        if watch is not None:
            watch.cancel()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _leave_with_client(answer: Answer, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answer.leave(ClientLeft())


def _start(answer: Answer) -> HTTPResponseStartEvent:
    dropped = hop_by_hop(answer.headers)
    ours = DATE_AND_LENGTH if answer.status in (204, 304) else DATE
    return {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [(name, value) for name, value in answer.headers if name not in dropped and name not in ours],
    }
