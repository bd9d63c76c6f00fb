"""What nginx refuses by itself, before the gateway sees it."""

from urllib.parse import urlsplit

import pytest

from tests.conftest import Shop
from tests.support import Answer, said

LONG = "x" * 9000


async def answer_to(shop: Shop, request: str) -> Answer:
    at = urlsplit(shop.url)
    lines = [request, "Host: shop", "Connection: close", "", ""]
    return await said(at.hostname or "", at.port or 80, "\r\n".join(lines).encode("latin-1"))


@pytest.mark.parametrize(
    ("request_", "status", "instance"),
    [
        pytest.param(f"GET /api/orders?x={LONG} HTTP/1.1", 414, "/", id="long-address"),
        pytest.param(f"GET /api/orders HTTP/1.1\r\nX-User-Id: {LONG}", 431, "/api/orders", id="long-header"),
        pytest.param("GET /api/orders/%00 HTTP/1.1", 400, "/", id="nul-in-the-address"),
        pytest.param("GET /api/orders?x=a b HTTP/1.1", 400, "/", id="space-in-the-address"),
        pytest.param("GET /api/orders HTTP/1.1\r\nX-User-Id: a\0b", 400, "/api/orders", id="nul-in-a-header"),
        pytest.param("GET /api/orders HTTP/1.1\r\nTransfer-Encoding: x", 501, "/api/orders", id="coding"),
        pytest.param("GET /api/orders HTTP/3.0", 505, "/", id="version"),
        pytest.param("\x16\x03\x01", 400, "/", id="tls"),
    ],
)
async def test_it_is_a_problem_document_with_a_request_id(
    shop: Shop, request_: str, status: int, instance: str
) -> None:
    answer = await answer_to(shop, request_)
    assert (answer.status, answer.fields(), answer.body["instance"]) == (status, set(), instance)
    assert answer.body["title"] != "Error"
    assert answer.headers["X-Request-Id"]


async def test_trace_is_not_allowed_and_what_is_is_said(shop: Shop) -> None:
    answer = await answer_to(shop, "TRACE /api/orders HTTP/1.1")
    assert (answer.status, answer.fields()) == (405, set())
    assert "GET" in answer.headers["Allow"]


async def test_a_service_says_itself_what_it_allows(shop: Shop) -> None:
    answer = await answer_to(shop, "PUT /api/notifications/tickets HTTP/1.1")
    assert (answer.status, set(answer.headers["Allow"].split(", "))) == (405, {"OPTIONS", "POST"})


async def test_the_page_of_errors_has_no_address_of_its_own(shop: Shop) -> None:
    assert (await answer_to(shop, "GET /.problem HTTP/1.1")).status == 404
