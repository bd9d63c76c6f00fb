"""Runs the Lua scripts. Each script reads or changes the keys of one user atomically."""

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
    """A Lua script of this package. Calling it with keys and arguments returns a command for `run`."""

    def __init__(self, name: str) -> None:
        self.body = (resources.files("notifier") / f"{name}.lua").read_bytes()
        # EVALSHA names a script by its SHA-1; this is not for security.
        self._sha = sha1(self.body, usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *arguments: str | bytes | int) -> Command:
        return "EVALSHA", self._sha, len(keys), *keys, *arguments


FAN_OUT = Script("fan_out")
READ = Script("read")
PRESENCE = Script("presence")
ACK = Script("ack")


async def run(redis: Redis, commands: Sequence[Command]) -> list[Any]:
    """Sends all commands in one round trip and returns their replies in order.

    redis-py's own Script class would first ask Redis, in a round trip of its own, whether it knows the scripts.
    Raises RedisError, or TimeoutError if Redis does not reply within ANSWER_SECONDS.
    """
    try:
        return await _pipelined(redis, commands)
    except NoScriptError:  # Redis has restarted, or has failed over, and does not know the scripts yet
        await _pipelined(redis, [("SCRIPT", "LOAD", script.body) for script in (FAN_OUT, READ, PRESENCE, ACK)])
        return await _pipelined(redis, commands)


async def _pipelined(redis: Redis, commands: Sequence[Command]) -> list[Any]:
    async with asyncio.timeout(ANSWER_SECONDS), redis.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute()
