"""The Lua scripts: each changes or reads all of one user's keys at once."""

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from importlib import resources
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

ANSWER_SECONDS = 5

Command: TypeAlias = "tuple[str | bytes | int, ...]"


class Script:
    """`script(keys, *arguments)` is a command for `run`."""

    def __init__(self, name: str) -> None:
        self.body = (resources.files("notifier") / f"{name}.lua").read_bytes()
        # Redis names a script so; it guards nothing.
        self._sha = sha1(self.body, usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *arguments: str | bytes | int) -> Command:
        return "EVALSHA", self._sha, len(keys), *keys, *arguments


FAN_OUT = Script("fan_out")
READ = Script("read")
PRESENCE = Script("presence")
ACK = Script("ack")


async def run(redis: Redis, commands: Sequence[Command]) -> list[Any]:
    """The replies, in one round trip. redis-py's own scripts would ask before each whether Redis knows them.

    Raises RedisError, or TimeoutError when Redis does not answer.
    """
    try:
        return await _pipelined(redis, commands)
    except NoScriptError:  # a Redis that has just started
        await _pipelined(redis, [("SCRIPT", "LOAD", script.body) for script in (FAN_OUT, READ, PRESENCE, ACK)])
        return await _pipelined(redis, commands)


async def _pipelined(redis: Redis, commands: Sequence[Command]) -> list[Any]:
    async with asyncio.timeout(ANSWER_SECONDS), redis.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute()
