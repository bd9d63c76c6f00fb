"""nginx.conf and web/nginx.conf in real nginx servers, with a real gateway. The services are stand-ins."""

import json
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Serve, Spawn
from tests.nginx import nginx, temp_paths
from tests.support import ROOT, Answer, Replica, eventually, free_port, said

pytestmark = pytest.mark.processes

PAGE = '"the page"'  # valid JSON, because `said` decodes the body


@dataclass
class Entrance:
    port: int
    gateway: Replica
    log: Path

    async def said(self, request: bytes) -> Answer:
        return await said("127.0.0.1", self.port, request)


async def answers(request: web.Request) -> web.Response:
    return web.json_response({"path": request.path_qs})


@pytest.fixture
async def entrance(tmp_path: Path, serve: Serve, spawn: Spawn) -> AsyncGenerator[Entrance]:
    port, web_port = free_port(), free_port()
    web_home, home = tmp_path / "web", tmp_path / "nginx"
    (web_home / "html" / "api" / "docs").mkdir(parents=True)
    for page in ("index.html", "api/docs/index.html"):
        (web_home / "html" / page).write_text(PAGE)
    home.mkdir()
    configure(web_home, "web/nginx.conf", web_port, f"root {web_home}/html;")
    configure(home, "nginx.conf", port)
    service = (await serve(answers)).url
    urls = {f"{name}_URLS": service for name in ("ORDERS", "PAYMENTS", "NOTIFIER")}
    gateway = await spawn("gateway", WEB_URLS=f"http://127.0.0.1:{web_port}", **urls)
    ports = {"gateway": gateway.port, "web": web_port, "notifier": free_port()}
    upstreams = [f"upstream {name} {{ server 127.0.0.1:{at}; }}\n" for name, at in ports.items()]
    (home / "upstreams.conf").write_text("".join(upstreams))
    async with nginx(web_home, web_port), nginx(home, port):
        yield Entrance(port, gateway, home / "access.log")


def configure(home: Path, conf: str, port: int, more: str = "") -> None:
    shutil.copy(ROOT / conf, home / "nginx.conf")
    shutil.copy("/etc/nginx/mime.types", home)
    (home / "listen.conf").write_text(f"listen 127.0.0.1:{port}; {temp_paths(home)} {more}")


@pytest.mark.parametrize("path", ["/", "/api/docs", "/api/orders"])
async def test_a_request_with_http_1_0_needs_no_host(entrance: Entrance, path: str) -> None:
    """`Host` is optional in HTTP/1.0, but an HTTP/1.1 server behind nginx requires it."""
    assert (await entrance.said(b"GET %b HTTP/1.0\r\n\r\n" % path.encode())).status == 200


async def test_the_gateway_adds_a_missing_host(entrance: Entrance) -> None:
    answer = await said("127.0.0.1", entrance.gateway.port, b"GET /api/docs HTTP/1.0\r\n\r\n")
    assert answer.status == 200


async def test_http_1_1_without_a_host_is_malformed(entrance: Entrance) -> None:
    answer = await entrance.said(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert (answer.status, answer.fields()) == (400, set())


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"plain", "plain"),
        (b'a"b\\c', 'a"b\\c'),
        (b"caf\xc3\xa9", "caf[not ASCII]"),
        (b"\xff\xfe", "[not ASCII]"),
        (b"a\xed\xa0\x80b", "a[not ASCII]"),
    ],
)
async def test_an_access_log_line_is_json_in_utf_8(entrance: Entrance, sent: bytes, expected: str) -> None:
    headers = b"".join(b"%b: %b\r\n" % (name, sent) for name in (b"User-Agent", b"X-User-Id", b"traceparent"))
    await entrance.said(b"GET /api/orders?%b HTTP/1.0\r\n%b\r\n" % (sent, headers))
    line = await eventually(lambda: logged(entrance.log))
    assert line is not None
    assert [line[name] for name in ("agent", "user", "traceparent")] == [expected] * 3
    assert line["uri"] == f"/api/orders?{expected}"


async def logged(log: Path) -> dict[str, Any] | None:
    """Returns the log line of the only request. If it is not UTF-8 or not JSON, the test fails."""
    line = log.read_bytes().decode("utf-8")
    return json.loads(line) if line.endswith("\n") else None
