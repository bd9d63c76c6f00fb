"""What can happen to RabbitMQ, PostgreSQL and Redis, and to what they hold."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random

from loadtest.faults.copies import copying, sent_again
from loadtest.faults.place import NotHappened
from loadtest.faults.servers import rabbitmqctl, wipe_redis
from loadtest.faults.shop import ShopUnderFaults
from shopkit.messaging.topology import Queue

# A transaction is over in a few milliseconds, so most looks at the server find nobody at work.
VOLLEYS_SECONDS, ENOUGH_BACKENDS = 20, 10
SNAPSHOT_SECONDS = 90.0
# A message that was published before the fault began is handled within this time.
HANDLED_SECONDS = 3.0
# A message is published to the deleted queue within this time.
RETURNED_SECONDS = 30.0
RELAY_FAILURES = "gozon_relay_failures_total"


async def stopped(server: str, shop: ShopUnderFaults, random: Random) -> str:
    seconds = random.uniform(1, 6)
    await shop.stop(server)
    try:
        await asyncio.sleep(seconds)
    finally:
        await shop.supervisorctl("start", server)
    return f"for {seconds:.1f} s"


async def server_killed(server: str, shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    await shop.kill(server)
    return "the supervisor starts it again"


async def memory_alarm(shop: ShopUnderFaults, random: Random) -> str:
    """Whoever publishes is blocked, and consumers go on."""
    seconds = random.uniform(3, 12)
    await rabbitmqctl(shop, "set_vm_memory_high_watermark", "0.00001")
    try:
        await asyncio.sleep(seconds)
        alarms = await rabbitmqctl(shop, "eval", "rabbit_alarm:get_alarms().")
    finally:
        await rabbitmqctl(shop, "set_vm_memory_high_watermark", "0.4")
    if "memory" not in alarms:
        raise NotHappened(f"no alarm of memory: {alarms}")
    return f"for {seconds:.1f} s"


async def queue_deleted(queue: Queue, shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    await shop.contents.broker("DELETE", f"queues/%2F/{queue.name}")
    return queue.name


async def unroutable(queue: Queue, shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    """Deletes the queue, and lets no session declare it again until a relay learns that a message was returned.

    A deleted queue takes its messages with it. The fault sends them again, because no service sends a toast again.
    """
    async with sent_again(shop, queue.name) as record:
        await asyncio.sleep(HANDLED_SECONDS)
        before = await relay_failures(shop)
        async with undeclarable(queue, shop):
            await rabbitmqctl(shop, "delete_queue", queue.name)
            record.close()
            deadline = time.monotonic() + RETURNED_SECONDS
            while (failures := await relay_failures(shop) - before) == 0:
                if time.monotonic() > deadline:
                    raise NotHappened("no message was returned")
                await asyncio.sleep(0.2)
    return f"{failures:.0f} passes of relays were rolled back, {len(record.bodies)} messages sent again"


async def relay_failures(shop: ShopUnderFaults) -> float:
    """How many passes of all relays were rolled back. A returned message is one reason."""
    failures = 0.0
    for replica in shop.of("orders", "payments"):
        async with shop.session.get(f"{shop.replicas[replica]}/metrics") as response:
            lines = (await response.text()).splitlines()
        failures += sum(float(line.rsplit(" ")[-1]) for line in lines if line.startswith(RELAY_FAILURES))
    return failures


@asynccontextmanager
async def undeclarable(queue: Queue, shop: ShopUnderFaults) -> AsyncGenerator[None]:
    """Takes from the user of the services the right to declare the queue, and to delete it."""
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    path = f"permissions/%2F/{shop.contents.broker_user}"
    await shop.contents.broker("PUT", path, everything | {"configure": f"^(?!{re.escape(queue.name)}$)"})
    try:
        yield
    finally:
        await shop.contents.broker("PUT", path, everything)


async def redis_wiped(shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    """Pages are told that something may be missing, and read their orders."""
    await shop.stop("redis")
    wipe_redis(shop.directory)
    shop.wiped_at.append(time.monotonic())
    await shop.supervisorctl("start", "redis")
    return "restarted empty"


async def backends_terminated(shop: ShopUnderFaults, random: Random) -> str:
    """In volleys, until one of them was committing."""
    ended = committing = 0
    deadline = time.monotonic() + VOLLEYS_SECONDS
    while (ended < ENOUGH_BACKENDS or not committing) and time.monotonic() < deadline:
        at = "query ILIKE 'COMMIT%' OR query ILIKE '%INSERT INTO%'" if random.random() < 0.9 else "true"
        query = f"""
            SELECT count(pg_terminate_backend(pid)), count(*) FILTER (WHERE query ILIKE 'COMMIT%')
            FROM pg_stat_activity
            WHERE datname IN ('orders', 'payments') AND application_name = 'gozon' AND state <> 'idle' AND ({at})
        """
        [(count, at_commit)] = await shop.contents.sql("admin", query)
        ended += count
        committing += at_commit
    if not committing:
        raise NotHappened(f"{ended} of them, and none was at COMMIT")
    return f"{ended} of them, {committing} at COMMIT"


async def snapshots_held(shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    """No row that is deleted meanwhile can be vacuumed."""
    async with shop.contents.snapshot_held("orders"), shop.contents.snapshot_held("payments"):
        await asyncio.sleep(SNAPSHOT_SECONDS)
    return f"for {SNAPSHOT_SECONDS:.0f} s in each database"


async def copied(reminding: bool, shop: ShopUnderFaults, random: Random) -> str:
    async with copying(shop, random, reminding=reminding) as copier:
        await asyncio.sleep(6)
    if not copier.made:
        raise NotHappened("nothing was published")
    return f"{copier.made} copies"
