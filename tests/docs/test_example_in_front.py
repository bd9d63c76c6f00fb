"""The nginx of docs/security.md, as it stands there, before the whole shop."""

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


def placed(conf: str, **places: str) -> str:
    for what, place in places.items():
        said = {
            "listen": "listen 443 ssl;",
            "certificate": "/etc/ssl/shop.example.pem",
            "key": "/etc/ssl/shop.example.key",
            "shop": "server 127.0.0.1:8080;",
            "authenticator": "http://127.0.0.1:9000",
        }[what]
        assert conf.count(said) == 1
        conf = conf.replace(said, place)
    return conf


class Front:
    """Alice is known here, by her token, and nobody else."""

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
async def front(shop: Shop, session: aiohttp.ClientSession, tmp_path: Path) -> AsyncGenerator[Front]:
    port, beside = free_port(), free_port()
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
    front = Front(session, port, certificate)

    async def authenticate(request: web.Request) -> web.Response:
        assert "X-User-Id" not in request.headers
        if request.headers.get("Authorization") != SECRET:
            return web.Response(status=401)
        return web.Response(headers={"X-User-Id": front.alice})

    conf = placed(
        example(),
        listen=f"listen 127.0.0.1:{port} ssl;",
        certificate=str(certificate),
        key=str(key),
        shop=f"server {shop.url.removeprefix('http://')};",
        authenticator=f"http://127.0.0.1:{beside}",
    )
    (tmp_path / "nginx.conf").write_text(
        f"error_log stderr; events {{}} http {{ access_log off; {temp_paths(tmp_path)}\n{conf}\n}}"
    )
    application = web.Application()
    application.router.add_route("*", "/{any:.*}", authenticate)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", beside).start()

    async with nginx(tmp_path, port):
        yield front
    await runner.cleanup()


async def test_a_caller_is_who_the_authenticator_says_and_nobody_they_choose(front: Front) -> None:
    somebody = new_user()
    for given in [(), (("X-User-Id", somebody),), (("X-User-Id", somebody), ("x-user-id", new_user()))]:
        account = ("POST" if not given else "GET"), "/api/payments/account"
        assert (await front.json(*account, AUTHENTICATED, *given))["user_id"] == front.alice


async def test_nobody_gets_in_unauthenticated_whoever_they_say_they_are(front: Front) -> None:
    as_alice = ("X-User-Id", front.alice)
    assert await front.status("GET", "/api/orders", as_alice) == 401
    assert await front.status("POST", "/api/notifications/tickets", as_alice) == 401
    assert await front.status("GET", "/api/orders", as_alice, ("Authorization", "Bearer guessed")) == 401
    assert await front.status("GET", "/_authenticate", AUTHENTICATED) == 404
    assert await front.status("GET", "/metrics", AUTHENTICATED) == 404
    assert await front.status("GET", "/") == 200


async def test_a_socket_goes_through(front: Front, shop: Shop) -> None:
    ticket = (await front.json("POST", "/api/notifications/tickets", AUTHENTICATED))["ticket"]
    async with websockets.connect(
        front.url.replace("https", "wss") + "/ws",
        ssl=front.trust,
        origin=Origin(shop.url),
        subprotocols=[Subprotocol("gozon.v1"), Subprotocol(f"ticket.{ticket}")],
    ) as socket:
        assert '"type":"welcome"' in str(await socket.recv())


async def test_too_many_requests_are_refused(front: Front) -> None:
    answers = await asyncio.gather(*(front.status("GET", "/api/orders", AUTHENTICATED) for _ in range(80)))
    assert {200, 429} == set(answers)
