"""Runs Schemathesis against the shop: examples, edge cases, random calls and sequences of calls."""

import asyncio
import json
import os
import sys
from pathlib import Path

import aiohttp

from tests.conftest import Shop
from tests.support import new_user

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 25
LIMIT_SECONDS = 150

# `ignored_auth` expects 401 for an invented credential, but every well-formed X-User-Id is a valid user. The first
# test checks that no call works without X-User-Id.
CHECKS = ("--checks", "all", "--exclude-checks", "ignored_auth")


async def test_every_call_of_a_user_needs_x_user_id(shop: Shop, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{shop.url}/api/openapi.json") as response:
        paths = (await response.json())["paths"]
    calls = [(method, path) for path, calls in paths.items() for method in calls if calls[method]["security"]]
    assert len(calls) >= 8
    for method, path in calls:
        async with session.request(method, shop.url + path) as response:
            assert (method, path, response.status) == (method, path, 401)


async def test_every_response_matches_the_openapi_document(shop: Shop, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    headers = {name: [{"name": "X-User-Id", "value": new_user()}] for name in ("ann", "bob")}
    users.write_text(json.dumps({"auth": [{"name": name, "fixedHeaders": headers[name]} for name in headers]}))
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", CONFIG, "run", f"{shop.url}/api/openapi.json", "--no-color", *CHECKS),
        *("--max-examples", str(EXAMPLES)),
        cwd=tmp_path,
        env=os.environ | {"USERS": str(users)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()
