"""Runs an nginx for one test, with a configuration of the project."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support import eventually

PROGRAM = shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"])) or "nginx"
KINDS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def temp_paths(home: Path) -> str:
    """Directives that keep nginx's temporary files in `home`."""
    return "".join(f"{kind}_temp_path {home}/{kind};" for kind in KINDS)


@asynccontextmanager
async def nginx(home: Path, port: int) -> AsyncGenerator[None]:
    """Runs nginx with `nginx.conf` of `home` while it listens on `port`. Its access log is `home`/access.log."""
    with (home / "access.log").open("wb") as log:
        directives = (
            f"daemon off; pid {home}/pid; user root;"  # lets root read `home`; nginx ignores it for other users
        )
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "-c", str(home / "nginx.conf"), "-e", "stderr", "-g", directives, stdout=log
        )

    async def nginx_listens() -> bool:
        assert process.returncode is None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return False
        writer.close()
        return True

    try:
        await eventually(nginx_listens)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
