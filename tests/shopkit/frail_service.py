"""A service with two workers that tests can break: `python -m tests.shopkit.frail_service`."""

import asyncio
from typing import Any

import structlog
from litestar import Request, post
from litestar.params import FromPath

from shopkit.runtime.settings import Settings, load
from shopkit.web import protocol
from shopkit.web.service import Service


class BreakableWorker:
    """A worker that runs until `stop` or `end_early`. Its check fails unless it is `healthy`."""

    def __init__(self) -> None:
        self._end: asyncio.Future[None] | None = None
        self.healthy = True

    async def run(self) -> None:
        self._end = asyncio.get_running_loop().create_future()
        await self._end

    def stop(self) -> None:
        assert self._end is not None
        self._end.set_result(None)

    def end_early(self, how: str) -> None:
        assert self._end is not None
        if how == "cancelled":
            self._end.cancel()
        else:
            self._end.set_exception(ValueError("broken"))

    async def check(self) -> None:
        if not self.healthy:
            raise ConnectionError("unhealthy")


log = structlog.get_logger()
first, second = BreakableWorker(), BreakableWorker()


@post("/break/{how:str}")
async def break_first(how: FromPath[str]) -> None:
    first.end_early(how)


@post("/spoil")
async def spoil_second() -> None:
    second.healthy = False


@post("/say/{word:str}")
async def say(word: FromPath[str]) -> None:
    log.info(word)


@post("/repeat", media_type="text/plain")
async def repeat(request: Request[Any, Any, Any]) -> bytes:
    return await request.body()


if __name__ == "__main__":
    protocol.BODY_SECONDS = 1
    Service(
        "frail",
        load(Settings),
        handlers=[break_first, spoil_second, say, repeat],
        workers=[first, second],
        checks={"first": first.check, "second": second.check},
    ).serve()
