"""One OpenAPI document for all services, merged from the ones that they serve themselves."""

import asyncio
import time
from collections.abc import Sequence
from contextvars import Context
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import MediaType, Response, get

from gateway.client import Client
from gateway.upstream_response import ConnectionBroken, Unreachable
from shopkit.web.openapi import described, instance
from shopkit.web.problems import MEDIA_TYPE, Problem, ProblemDocument, unavailable
from shopkit.web.responses import DocumentedResponse
from shopkit.web.upstreams import Upstream

DOCUMENT = b"GET /schema/openapi.json HTTP/1.1\r\nhost: \r\n\r\n"
DOCUMENT_LIMIT = 4 * 1024 * 1024
EXTRA_SECONDS = 2
KEPT_SECONDS = 1

log = structlog.get_logger()

PROBLEM = {"$ref": "#/components/schemas/ProblemDocument"}
HEADER = {"$ref": "#/components/headers/X-Request-Id"}
REQUEST_ID = {
    "description": "What the log lines of this call have in common: as it was sent, or made by nginx.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    "example": "5b1f5c3d8f0a4e0d9c6b7a8190e2f3d4",
}


def _of_nginx(status: int, title: str, detail: str) -> DocumentedResponse:
    problem = ProblemDocument("about:blank", title, status, detail, "")
    return DocumentedResponse(detail, {"nginx": problem}, kind=ProblemDocument, media_type=MEDIA_TYPE)


# In the words of nginx.conf. With 502 and 504 the gateway names the service.
ON_THE_WAY = {
    414: _of_nginx(414, "URI Too Long", "The address is too long."),
    431: _of_nginx(431, "Request Header Fields Too Large", "The headers are too large."),
    502: _of_nginx(502, "Bad Gateway", "The service did not answer. Try again with the same Idempotency-Key."),
    504: _of_nginx(
        504, "Gateway Timeout", "The service did not answer in time. Try again with the same Idempotency-Key."
    ),
}


class Documents:
    """The documents of `upstreams`, read again after a second, as services are upgraded one by one.

    Those of `extra` are in it when they can be had quickly: the shop is whole without them.
    """

    def __init__(self, client: Client, upstreams: Sequence[Upstream], extra: Sequence[Upstream]) -> None:
        self._client = client
        self._upstreams = upstreams
        self._extra = extra
        self._merging: asyncio.Task[bytes] | None = None
        self._kept_until = 0.0

    async def merged(self) -> bytes:
        """The merged document as JSON. Callers who ask in the same second share it, and so they do an error.

        Raises a 503 Problem while a service is unavailable.
        """
        if self._merging is None or (self._merging.done() and time.monotonic() >= self._kept_until):
            # The log lines of the task do not belong to the request that happened to come first.
            self._merging = asyncio.create_task(self._merge(), context=Context())
        return await asyncio.shield(self._merging)

    async def _merge(self) -> bytes:
        try:
            return msgspec.json.encode(await self._read_all())
        finally:
            self._kept_until = time.monotonic() + KEPT_SECONDS

    async def _read_all(self) -> dict[str, Any]:
        documents = await asyncio.gather(*map(self._read, self._upstreams), *map(self._read_if_there, self._extra))
        return merge([document for document in documents if document is not None])

    async def _read_if_there(self, upstream: Upstream) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(EXTRA_SECONDS):
                return await self._read(upstream)
        except (Problem, TimeoutError) as error:
            log.warning("document left out", upstream=upstream.name, error=repr(error))
            return None

    async def _read(self, upstream: Upstream) -> dict[str, Any]:
        for target in upstream.in_order():
            try:
                answer = await self._client.request(target, "GET", DOCUMENT)
                document = await answer.read(DOCUMENT_LIMIT)
                if answer.status == HTTPStatus.OK:
                    return msgspec.json.decode(document)
            except (Unreachable, ConnectionBroken, TimeoutError, msgspec.DecodeError):
                continue
        raise unavailable(f"The document of {upstream.name} cannot be read right now.")


def merge(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Raises ValueError where two services mean different things by one name."""
    merged: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Gozon",
            "version": "1",
            "description": "Orders, payments and notifications. Amounts are integers in kopecks.",
        },
        "servers": [{"url": "/"}],
        "tags": [tag for document in documents for tag in document.get("tags", ())],
        "paths": {},
        "components": {"headers": {"X-Request-Id": REQUEST_ID}},
    }
    for document in documents:
        _add(merged["paths"], {path: _from_outside(path, calls) for path, calls in document["paths"].items()})
        for kind, named in document.get("components", {}).items():
            _add(merged["components"].setdefault(kind, {}), named)
    return merged


def _add(into: dict[str, Any], named: dict[str, Any]) -> None:
    for name, value in named.items():
        if into.setdefault(name, value) != value:
            raise ValueError(f"two services describe {name} differently")


def _from_outside(path: str, calls: dict[str, Any]) -> dict[str, Any]:
    """What nginx and the gateway add to each call: answers of their own, and a header to all."""
    return {method: call | {"responses": _answers(path, call)} for method, call in calls.items()}


def _answers(path: str, call: dict[str, Any]) -> dict[str, Any]:
    where = instance(path, call.get("parameters", ()))
    ours = {str(status): described(answer, PROBLEM, where) for status, answer in ON_THE_WAY.items()}
    return {
        status: answer | {"headers": {"X-Request-Id": HEADER} | answer.get("headers", {})}
        for status, answer in sorted((call["responses"] | ours).items())
    }


@get("/api/openapi.json", include_in_schema=False)
async def openapi(documents: Documents) -> Response[bytes]:
    return Response(await documents.merged(), media_type=MediaType.JSON, headers={"Cache-Control": "no-cache"})
