"""A service to try the skeleton on: `python -m tests.shopkit.frail_service`. One can break its parts."""

import asyncio
from typing import Any

import structlog
from litestar import Request, post
from litestar.params import FromPath

from shopkit.runtime.settings import Settings, load
from shopkit.web import protocol
from shopkit.web.service import Service


class Organ:
    """A worker. `break_down` is how it is made to end before its time."""

    def __init__(self) -> None:
        self._end: asyncio.Future[None] | None = None
        self.well = True

    async def run(self) -> None:
        self._end = asyncio.get_running_loop().create_future()
        await self._end

    def stop(self) -> None:
        assert self._end is not None
        self._end.set_result(None)

    def break_down(self, how: str) -> None:
        assert self._end is not None
        if how == "cancelled":
            self._end.cancel()
        else:
            self._end.set_exception(ValueError("broken"))

    async def check(self) -> None:
        if not self.well:
            raise ConnectionError("unwell")


log = structlog.get_logger()
heart, liver = Organ(), Organ()


@post("/break/{how:str}")
async def break_heart(how: FromPath[str]) -> None:
    heart.break_down(how)


@post("/spoil")
async def spoil_liver() -> None:
    liver.well = False


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
        handlers=[break_heart, spoil_liver, say, repeat],
        workers=[heart, liver],
        checks={"heart": heart.check, "liver": liver.check},
    ).serve()
