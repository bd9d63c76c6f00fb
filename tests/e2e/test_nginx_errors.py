"""Requests that nginx rejects before they reach the gateway."""

from urllib.parse import urlsplit

import pytest

from tests.conftest import Shop
from tests.support import Answer, said

LONG = "x" * 9000


async def response_to(shop: Shop, request: str) -> Answer:
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
async def test_an_error_of_nginx_is_a_problem_document_with_a_request_id(
    shop: Shop, request_: str, status: int, instance: str
) -> None:
    response = await response_to(shop, request_)
    assert (response.status, response.fields(), response.body["instance"]) == (status, set(), instance)
    assert response.body["title"] != "Error"
    assert response.headers["X-Request-Id"]


async def test_trace_is_rejected_with_the_allowed_methods(shop: Shop) -> None:
    response = await response_to(shop, "TRACE /api/orders HTTP/1.1")
    assert (response.status, response.fields()) == (405, set())
    assert "GET" in response.headers["Allow"]


async def test_a_service_lists_its_allowed_methods_itself(shop: Shop) -> None:
    response = await response_to(shop, "PUT /api/notifications/tickets HTTP/1.1")
    assert (response.status, set(response.headers["Allow"].split(", "))) == (405, {"OPTIONS", "POST"})


async def test_the_error_page_of_nginx_cannot_be_requested(shop: Shop) -> None:
    assert (await response_to(shop, "GET /.problem HTTP/1.1")).status == 404


async def test_a_request_for_an_upgrade_cannot_turn_its_body_into_a_second_request(shop: Shop) -> None:
    """A server would parse the body as the next request, so nginx forwards an upgrade only to WebSockets."""
    body = "GET /api/orders HTTP/1.1\r\nHost: shop\r\n\r\n"
    upgrade = "Connection: close, Upgrade\r\nUpgrade: websocket"
    headers = f"X-User-Id: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{upgrade}"
    at = urlsplit(shop.url)
    request = f"POST /api/orders HTTP/1.1\r\nHost: shop\r\n{headers}\r\n\r\n{body}"
    response = await said(at.hostname or "", at.port or 80, request.encode())
    assert (response.status, response.body["errors"]) == (400, [{"field": "body", "message": "not valid JSON"}])
