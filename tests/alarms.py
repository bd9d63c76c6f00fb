"""A memory alarm of a local RabbitMQ: it then takes no messages, and sends those that it has."""

import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loadtest.faults.programs import ended
from loadtest.faults.servers import RABBITMQCTL


@asynccontextmanager
async def memory_alarm(servers: dict[str, Any]) -> AsyncGenerator[None]:
    """`servers` is what shop.json says. The alarm is raised before the block and cleared after it."""
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
    done = await ended(RABBITMQCTL, *node, "set_vm_memory_high_watermark", share, env=environment, stdout=PIPE)
    assert done.status == 0, done.said
