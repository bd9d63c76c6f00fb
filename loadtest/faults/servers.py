"""What is done to RabbitMQ and Redis by their own tools and files."""

import os
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path

from loadtest.faults.programs import ended
from loadtest.faults.shop import ShopUnderFaults

# Debian's wrapper in /usr/sbin insists on its own user and folders.
OWN = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
RABBITMQCTL = str(OWN) if OWN.exists() else "rabbitmqctl"


async def rabbitmqctl(shop: ShopUnderFaults, *words: str) -> str:
    environment = os.environ | {
        "HOME": str(shop.directory / "rabbitmq"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(shop.epmd_port),
    }
    done = await ended(RABBITMQCTL, "-n", shop.broker_node, *words, env=environment, stdout=PIPE)
    if done.status:
        raise RuntimeError(f"rabbitmqctl {' '.join(words)} failed")
    return done.said


def wipe_redis(directory: Path) -> None:
    for path in (directory / "redis").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix in (".aof", ".rdb"):
            path.unlink()
