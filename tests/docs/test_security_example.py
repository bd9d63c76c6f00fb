"""Runs the nginx example of docs/security.md in front of a whole shop."""

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest
import websockets
from aiohttp import web
from websockets.typing import Origin, Subprotocol

from tests.conftest import Shop
from tests.nginx import nginx, temp_paths
from tests.support import ROOT, free_port, new_user

SECRET = "Bearer alices-own"


def example() -> str:
    found = re.search(
        r"^```nginx\n(.*?)^```$", (ROOT / "docs" / "security.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert found
    return found[1]


def with_replacements(conf: str, **values: str) -> str:
    """Replaces the addresses and files of the example. Each must occur in it exactly once."""
    for name, value in values.items():
        original = {
            "listen": "listen 443 ssl;",
            "certificate": "/etc/ssl/shop.example.pem",
            "key": "/etc/ssl/shop.example.key",
            "shop": "server 127.0.0.1:8080;",
            "authenticator": "http://127.0.0.1:9000",
        }[name]
        assert conf.count(original) == 1
        conf = conf.replace(original, value)
    return conf


class Proxy:
    """The proxy of the example. Its authenticator knows only Alice, by her token."""

    def __init__(self, session: aiohttp.ClientSession, port: int, certificate: Path) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.alice = new_user()
        self.trust = ssl.create_default_context(cafile=str(certificate))
        self.trust.check_hostname = False
        self._session = session

    async def status(self, method: str, path: str, *headers: tuple[str, str]) -> int:
        async with self._session.request(
            method, self.url + path, headers=list(headers), ssl=self.trust
        ) as response:
            await response.read()
            return response.status

    async def json(self, method: str, path: str, *headers: tuple[str, str]) -> dict[str, str]:
        async with self._session.request(
            method, self.url + path, headers=list(headers), ssl=self.trust
        ) as response:
            assert response.ok, await response.text()
            return await response.json()


AUTHENTICATED = ("Authorization", SECRET)


@pytest.fixture
async def proxy(shop: Shop, session: aiohttp.ClientSession, tmp_path: Path) -> AsyncGenerator[Proxy]:
    port, authenticator_port = free_port(), free_port()
    certificate, key = tmp_path / "shop.pem", tmp_path / "shop.key"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=shop.example",
            ),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    proxy = Proxy(session, port, certificate)

    async def authenticate(request: web.Request) -> web.Response:
        assert "X-User-Id" not in request.headers
        if request.headers.get("Authorization") != SECRET:
            return web.Response(status=401)
        return web.Response(headers={"X-User-Id": proxy.alice})

    conf = with_replacements(
        example(),
        listen=f"listen 127.0.0.1:{port} ssl;",
        certificate=str(certificate),
        key=str(key),
        shop=f"server {shop.url.removeprefix('http://')};",
        authenticator=f"http://127.0.0.1:{authenticator_port}",
    )
    (tmp_path / "nginx.conf").write_text(
        f"error_log stderr; events {{}} http {{ access_log off; {temp_paths(tmp_path)}\n{conf}\n}}"
    )
    application = web.Application()
    application.router.add_route("*", "/{any:.*}", authenticate)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", authenticator_port).start()

    async with nginx(tmp_path, port):
        yield proxy
    await runner.cleanup()


async def test_the_authenticator_decides_the_user_and_not_the_caller(proxy: Proxy) -> None:
    other = new_user()
    for headers in [(), (("X-User-Id", other),), (("X-User-Id", other), ("x-user-id", new_user()))]:
        account = ("POST" if not headers else "GET"), "/api/payments/account"
        assert (await proxy.json(*account, AUTHENTICATED, *headers))["user_id"] == proxy.alice


async def test_unauthenticated_calls_are_rejected_with_any_user_id(proxy: Proxy) -> None:
    as_alice = ("X-User-Id", proxy.alice)
    assert await proxy.status("GET", "/api/orders", as_alice) == 401
    assert await proxy.status("POST", "/api/notifications/tickets", as_alice) == 401
    assert await proxy.status("GET", "/api/orders", as_alice, ("Authorization", "Bearer guessed")) == 401
    assert await proxy.status("GET", "/_authenticate", AUTHENTICATED) == 404
    assert await proxy.status("GET", "/metrics", AUTHENTICATED) == 404
    assert await proxy.status("GET", "/") == 200


async def test_a_websocket_passes_the_proxy(proxy: Proxy, shop: Shop) -> None:
    ticket = (await proxy.json("POST", "/api/notifications/tickets", AUTHENTICATED))["ticket"]
    async with websockets.connect(
        proxy.url.replace("https", "wss") + "/ws",
        ssl=proxy.trust,
        origin=Origin(shop.url),
        subprotocols=[Subprotocol("gozon.v1"), Subprotocol(f"ticket.{ticket}")],
    ) as socket:
        assert '"type":"welcome"' in str(await socket.recv())


async def test_too_many_requests_are_rejected(proxy: Proxy) -> None:
    statuses = await asyncio.gather(*(proxy.status("GET", "/api/orders", AUTHENTICATED) for _ in range(80)))
    assert {200, 429} == set(statuses)
