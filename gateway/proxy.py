"""Passing a request on to a replica and its answer back, both as streams.

A request is tried at another replica only when no connection could be made, so nothing was sent. A
request that may have arrived is never repeated: 502 says that its fate is not known.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import TypeAlias, cast

import aiohttp
import structlog
from litestar.exceptions import NotFoundException
from litestar.types import HTTPRequestEvent, HTTPResponseStartEvent, HTTPScope, Receive, Scope, Send
from multidict import CIMultiDict
from prometheus_client import Counter
from yarl import URL

from shopkit import tracing
from shopkit.problems import Problem
from shopkit.upstreams import Target, Upstream

CONNECT_SECONDS = 3
# Shorter than nginx waits for us, so that it is our problem document that says so.
ANSWER_SECONDS = 25
# Shorter than the services keep an idle connection.
KEEP_ALIVE_SECONDS = 30
WHOLE_ANSWER = 64 * 1024

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

REFUSED = Counter("gozon_upstream_refused", "Replicas that could not be connected to", ["upstream"])
FAILED = Counter("gozon_upstream_failed", "Requests answered with 502 or 504", ["upstream", "status"])

log = structlog.get_logger()

RawHeaders = Iterable[tuple[bytes, bytes]]
Body: TypeAlias = "bytes | AsyncIterator[bytes] | None"
Request: TypeAlias = "AbstractAsyncContextManager[aiohttp.ClientResponse]"


class ClientLeft(Exception):
    """The client broke off its own request."""


class Client:
    """The pool of connections to all replicas, open while it runs."""

    session: aiohttp.ClientSession

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        async with self.session:
            await self._stopping.wait()

    def stop(self) -> None:
        self._stopping.set()


class Proxy:
    """An ASGI application, mounted at `prefix`, that passes everything on to one upstream."""

    def __init__(self, client: Client, prefix: str, upstream: Upstream) -> None:
        self._client = client
        self._inside = re.compile(re.escape(prefix.encode()) + rb"(?:/|$)")
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return None
        if not self._inside.match(scope["raw_path"]):  # Litestar mounts /api/ordersx under /api/orders as well
            raise NotFoundException
        body = await _body(receive)
        for target in self._upstream.in_order():
            target.busy += 1
            try:
                async with self._request(target, scope, body) as response:
                    return await _pass_back(response, send)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                target.refused()
                REFUSED.labels(self._upstream.name).inc()
            except TimeoutError as error:
                raise self._failed(HTTPStatus.GATEWAY_TIMEOUT, "did not answer in time") from error
            except aiohttp.ClientError as error:
                raise self._failed(HTTPStatus.BAD_GATEWAY, "broke off before it answered") from error
            finally:
                target.busy -= 1
        raise self._failed(HTTPStatus.BAD_GATEWAY, "cannot be reached")

    def _request(self, target: Target, scope: HTTPScope, body: Body) -> Request:
        path = scope["raw_path"].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        return self._client.session.request(
            scope["method"],
            URL(f"{target.base}{path}?{query}" if query else f"{target.base}{path}", encoded=True),
            headers=_forwarded(scope["headers"]),
            data=body,
            allow_redirects=False,
        )

    def _failed(self, status: HTTPStatus, what: str) -> Problem:
        FAILED.labels(self._upstream.name, str(status.value)).inc()
        return Problem(status, status.name.lower().replace("_", "-"), f"The service {self._upstream.name} {what}.")


async def _body(receive: Receive) -> Body:
    """The whole body where it came at once, otherwise a stream of it."""
    first = cast("HTTPRequestEvent", await receive())
    if not first.get("more_body"):
        return first.get("body") or None
    return _stream(first.get("body", b""), receive)


async def _stream(chunk: bytes, receive: Receive) -> AsyncIterator[bytes]:
    yield chunk
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        message = cast("HTTPRequestEvent", message)
        more = message.get("more_body", False)
        yield message.get("body", b"")


def _forwarded(headers: RawHeaders) -> CIMultiDict[str]:
    dropped = _hop_by_hop(headers)
    forwarded = CIMultiDict(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers if name not in dropped
    )
    if traceparent := tracing.current():
        forwarded["traceparent"] = traceparent
    return forwarded


async def _pass_back(response: aiohttp.ClientResponse, send: Send) -> None:
    """A short answer is read whole first, so that one that breaks off becomes a 502 and not half an answer."""
    if (response.content_length or WHOLE_ANSWER) < WHOLE_ANSWER:
        body = await response.read()
        await send(_start(response))
        await send({"type": "http.response.body", "body": body, "more_body": False})
        return
    await send(_start(response))
    try:
        async for chunk in response.content.iter_any():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("answer cut short", url=str(response.url), error=repr(error))
        return  # without an end, so that the server closes the connection and the client sees the cut
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _start(response: aiohttp.ClientResponse) -> HTTPResponseStartEvent:
    headers = [(name.lower(), value) for name, value in response.raw_headers]
    dropped = _hop_by_hop(headers) | {b"date"}  # our own server dates its answers
    return {
        "type": "http.response.start",
        "status": response.status,
        "headers": [(name, value) for name, value in headers if name not in dropped],
    }


def _hop_by_hop(headers: RawHeaders) -> frozenset[bytes]:
    """Those of RFC 9110 7.6.1, and those that `Connection` names."""
    named = [value for name, value in headers if name == b"connection"]
    if not named:
        return HOP_BY_HOP
    return HOP_BY_HOP | {name.strip().lower() for value in named for name in value.split(b",")}
