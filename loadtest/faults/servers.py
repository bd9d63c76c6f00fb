"""What is done to RabbitMQ and Redis by their own tools and files."""

import asyncio
import os
import shutil
from pathlib import Path

from loadtest.faults.programs import ended
from loadtest.faults.shop import Shop

# Debian's wrapper in /usr/sbin insists on its own user and folders.
OWN = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
RABBITMQCTL = str(OWN) if OWN.exists() else "rabbitmqctl"


async def rabbitmqctl(shop: Shop, *words: str) -> str:
    environment = os.environ | {
        "HOME": str(shop.directory / "rabbitmq"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(shop.epmd_port),
    }
    process = await asyncio.create_subprocess_exec(
        RABBITMQCTL, "-n", shop.broker_node, *words, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await ended(process)
    if process.returncode:
        raise RuntimeError(f"rabbitmqctl {' '.join(words)} failed")
    return output.decode()


def wipe_redis(directory: Path) -> None:
    for path in (directory / "redis").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix in (".aof", ".rdb"):
            path.unlink()
