"""Operations on a local RabbitMQ and Redis, by their tools and files."""

import os
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path

from loadtest.faults.programs import run_program
from loadtest.faults.shop import ShopUnderFaults

# Debian's wrapper in /usr/sbin only works with the system's user and folders.
UNWRAPPED = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
RABBITMQCTL = str(UNWRAPPED) if UNWRAPPED.exists() else "rabbitmqctl"


async def rabbitmqctl(shop: ShopUnderFaults, *words: str) -> str:
    environment = os.environ | {
        "HOME": str(shop.directory / "rabbitmq"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(shop.epmd_port),
    }
    result = await run_program(RABBITMQCTL, "-n", shop.broker_node, *words, env=environment, stdout=PIPE)
    if result.status:
        raise RuntimeError(f"rabbitmqctl {' '.join(words)} failed")
    return result.output


def wipe_redis(directory: Path) -> None:
    """Deletes the data files of a stopped Redis."""
    for path in (directory / "redis").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix in (".aof", ".rdb"):
            path.unlink()
