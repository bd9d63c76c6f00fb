import asyncio
import socket
from typing import Any

import pytest

from shopkit.web import upstreams
from shopkit.web.upstreams import Upstream
from tests.servers import running
from tests.support import eventually

MISSING = "http://missing.invalid:1"
HERE = "http://127.0.0.1:2"
ALSO_HERE = "http://127.0.0.2:3"


@pytest.mark.parametrize("urls", [[MISSING, HERE, ALSO_HERE], [HERE, MISSING, ALSO_HERE]])
async def test_a_name_that_does_not_resolve_does_not_affect_other_names(urls: list[str]) -> None:
    upstream = Upstream("orders", ",".join(urls))
    async with running(upstream):
        await eventually(lambda: bases_are(upstream, HERE, ALSO_HERE))
        await upstream.check()


async def test_a_name_that_no_longer_resolves_keeps_its_addresses_while_others_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"one": "127.0.0.1", "two": "127.0.0.2"}

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror
        return [(0, 0, 0, "", (known[host], port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(upstreams, "RESOLVE_SECONDS", 0.01)
    upstream = Upstream("orders", "http://one,http://two")
    async with running(upstream):
        await eventually(lambda: bases_are(upstream, "http://127.0.0.1:80", "http://127.0.0.2:80"))
        kept = next(target for target in upstream.in_order() if target.address == ("127.0.0.1", 80))
        del known["one"]
        known["two"] = "127.0.0.3"
        await eventually(lambda: bases_are(upstream, "http://127.0.0.1:80", "http://127.0.0.3:80"))
        assert kept in upstream.in_order()


async def bases_are(upstream: Upstream, *bases: str) -> bool:
    return upstream.bases == list(bases)
