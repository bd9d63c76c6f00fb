"""One OpenAPI document for all services, merged from the ones that they serve themselves."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec
import structlog
from litestar import Response, get

from gateway.proxy import Client
from shopkit.problems import Problem, unavailable
from shopkit.upstreams import Upstream

SERVICE_DOCUMENT = "/schema/openapi.json"
EXTRA_SECONDS = 2

log = structlog.get_logger()


class Documents:
    """The documents of `upstreams`; they are read anew for each merge, as services are upgraded one by one.

    Those of `extra` are in it when they can be had quickly: the shop is whole without them.
    """

    def __init__(self, client: Client, upstreams: Sequence[Upstream], extra: Sequence[Upstream]) -> None:
        self._client = client
        self._upstreams = upstreams
        self._extra = extra

    async def merged(self) -> dict[str, Any]:
        """Raises a 503 Problem while a service is away."""
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
                async with self._client.session.get(target.base + SERVICE_DOCUMENT) as response:
                    response.raise_for_status()
                    return msgspec.json.decode(await response.read())
            except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
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
        "paths": {},
        "components": {"schemas": {}, "securitySchemes": {}},
    }
    for document in documents:
        _add(merged["paths"], document["paths"])
        for kind, named in document.get("components", {}).items():
            _add(merged["components"].setdefault(kind, {}), named)
    return merged


def _add(into: dict[str, Any], named: dict[str, Any]) -> None:
    for name, value in named.items():
        if into.setdefault(name, value) != value:
            raise ValueError(f"two services describe {name} differently")


@get("/api/openapi.json", include_in_schema=False)
async def openapi(documents: Documents) -> Response[dict[str, Any]]:
    return Response(await documents.merged(), headers={"Cache-Control": "no-cache"})
