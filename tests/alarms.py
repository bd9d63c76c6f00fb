"""Raises a memory alarm in a local RabbitMQ: publishers are blocked, and consumers continue."""

import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loadtest.faults.programs import run_program
from loadtest.faults.servers import RABBITMQCTL


@asynccontextmanager
async def memory_alarm(servers: dict[str, Any]) -> AsyncGenerator[None]:
    """Keeps the alarm raised while the block runs. `servers` is the content of shop.json."""
    await _set_watermark(servers, "0.00001")
    try:
        yield
    finally:
        await _set_watermark(servers, "0.4")


async def _set_watermark(servers: dict[str, Any], share: str) -> None:
    base_port = int(servers["base_port"])
    environment = os.environ | {
        "HOME": str(Path(servers["supervisor"]).parent / "rabbitmq"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(base_port + 369),
    }
    node = ("-n", f"gozon-{base_port}@localhost")
    command = (RABBITMQCTL, *node, "set_vm_memory_high_watermark", share)
    result = await run_program(*command, env=environment, stdout=PIPE)
    assert result.status == 0, result.output
