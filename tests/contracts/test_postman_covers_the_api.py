"""postman/gozon.postman_collection.json has a request for every operation of the shop."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.support import ROOT, Caller

COLLECTION = ROOT / "postman" / "gozon.postman_collection.json"
Operation = tuple[str, str]

NOT_IN_THE_DOCUMENT = {
    ("GET", "/api/docs"),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/nothing"),
    ("DELETE", "/api/orders"),
    ("GET", "/ws"),
}


def requests(item: Mapping[str, Any]) -> Iterator[Operation]:
    """Yields method and path of each request in a collection, a folder (with subfolders) or a single request."""
    if request := item.get("request"):
        url = request["url"] if isinstance(request["url"], str) else request["url"]["raw"]  # as Postman exports it
        yield request["method"], urlsplit(url.removeprefix("{{base_url}}")).path
    for inner in item.get("item", []):
        yield from requests(inner)


def operations(document: Mapping[str, Any]) -> set[Operation]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def matches(request: Operation, operation: Operation) -> bool:
    path = re.sub(r"{[^/]+}", "[^/]+", operation[1])
    return request[0] == operation[0] and re.fullmatch(path, request[1]) is not None


async def test_the_postman_collection_has_a_request_for_every_operation_and_no_stale_one(caller: Caller) -> None:
    described = operations((await caller.call("GET", "/api/openapi.json")).body)
    sent = set(requests(json.loads(COLLECTION.read_text())))
    missing = {operation for operation in described if not any(matches(request, operation) for request in sent)}
    assert not missing, f"postman/ needs a request for {sorted(missing)}"
    undocumented = {request for request in sent if not any(matches(request, operation) for operation in described)}
    assert undocumented == NOT_IN_THE_DOCUMENT
