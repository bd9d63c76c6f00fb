"""Faults of RabbitMQ, PostgreSQL and Redis, and of the data in them."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random

from loadtest.faults.republishing import publishing_copies, republishing_at_end
from loadtest.faults.servers import rabbitmqctl, wipe_redis
from loadtest.faults.shop import ShopUnderFaults
from loadtest.faults.target import FaultNotInjected
from shopkit.messaging.topology import Queue

# A transaction takes a few milliseconds, so most queries of pg_stat_activity find no active backend.
TERMINATING_SECONDS, ENOUGH_BACKENDS = 20, 10
SNAPSHOT_SECONDS = 90.0
# A message that was published before the fault began is handled within this time.
HANDLED_SECONDS = 3.0
# A message is published to the deleted queue within this time.
RETURNED_SECONDS = 30.0
UNROUTABLE_SECONDS = 3.0
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
    """Raises a memory alarm: publishers are blocked, and consumers continue."""
    seconds = random.uniform(3, 12)
    await rabbitmqctl(shop, "set_vm_memory_high_watermark", "0.00001")
    try:
        await asyncio.sleep(seconds)
        alarms = await rabbitmqctl(shop, "eval", "rabbit_alarm:get_alarms().")
    finally:
        await rabbitmqctl(shop, "set_vm_memory_high_watermark", "0.4")
    if "memory" not in alarms:
        raise FaultNotInjected(f"no memory alarm: {alarms}")
    return f"for {seconds:.1f} s"


async def queue_deleted(queue: Queue, shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    await shop.stores.broker("DELETE", f"queues/%2F/{queue.name}")
    return queue.name


async def unroutable(queue: Queue, shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    """Deletes the queue, and prevents its declaration until a relay has noticed a returned message.

    The messages in the queue are lost with it. The fault publishes them again, because no service sends a
    notification again.
    """
    async with republishing_at_end(shop, queue.name) as record:
        await asyncio.sleep(HANDLED_SECONDS)
        before = await relay_failures(shop)
        async with undeclarable(queue, shop):
            await rabbitmqctl(shop, "delete_queue", queue.name)
            record.close()
            deadline = time.monotonic() + RETURNED_SECONDS
            while (failures := await relay_failures(shop) - before) == 0:
                if time.monotonic() > deadline:
                    raise FaultNotInjected("no message was returned")
                await asyncio.sleep(0.2)
            # The first failure can be a message that was in the queue before its deletion, and not a returned one.
            await asyncio.sleep(UNROUTABLE_SECONDS)
    return f"{failures:.0f} passes of relays were rolled back, {len(record.bodies)} messages sent again"


async def relay_failures(shop: ShopUnderFaults) -> float:
    """Returns how many passes of all relays were rolled back. A returned message is one cause."""
    failures = 0.0
    for replica in shop.replicas_of("orders", "payments"):
        async with shop.session.get(f"{shop.replicas[replica]}/metrics") as response:
            lines = (await response.text()).splitlines()
        failures += sum(float(line.rsplit(" ")[-1]) for line in lines if line.startswith(RELAY_FAILURES))
    return failures


@asynccontextmanager
async def undeclarable(queue: Queue, shop: ShopUnderFaults) -> AsyncGenerator[None]:
    """Revokes the permission of the services to declare or delete the queue, while the block runs."""
    all_permissions = {"configure": ".*", "write": ".*", "read": ".*"}
    path = f"permissions/%2F/{shop.stores.broker_user}"
    await shop.stores.broker("PUT", path, all_permissions | {"configure": f"^(?!{re.escape(queue.name)}$)"})
    try:
        yield
    finally:
        await shop.stores.broker("PUT", path, all_permissions)


async def redis_wiped(shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    """Restarts Redis empty. Pages then learn that they may have missed something, and reload their orders."""
    await shop.stop("redis")
    wipe_redis(shop.directory)
    shop.wiped_at.append(time.monotonic())
    await shop.supervisorctl("start", "redis")
    return "restarted empty"


async def backends_terminated(shop: ShopUnderFaults, random: Random) -> str:
    """Terminates active backends until enough have been terminated and at least one of them was committing."""
    terminated = committing = 0
    deadline = time.monotonic() + TERMINATING_SECONDS
    while (terminated < ENOUGH_BACKENDS or not committing) and time.monotonic() < deadline:
        where = "query ILIKE 'COMMIT%' OR query ILIKE '%INSERT INTO%'" if random.random() < 0.9 else "true"
        query = f"""
            SELECT count(pg_terminate_backend(pid)), count(*) FILTER (WHERE query ILIKE 'COMMIT%')
            FROM pg_stat_activity
            WHERE datname IN ('orders', 'payments') AND application_name = 'gozon' AND state <> 'idle' AND ({where})
        """
        [(count, at_commit)] = await shop.stores.sql("admin", query)
        terminated += count
        committing += at_commit
    if not committing:
        raise FaultNotInjected(f"{terminated} backends terminated, none of them at COMMIT")
    return f"{terminated} backends, {committing} of them at COMMIT"


async def snapshots_held(shop: ShopUnderFaults, random: Random) -> str:  # noqa: ARG001
    """Holds snapshots, so that rows deleted meanwhile cannot be vacuumed."""
    async with shop.stores.snapshot_held("orders"), shop.stores.snapshot_held("payments"):
        await asyncio.sleep(SNAPSHOT_SECONDS)
    return f"for {SNAPSHOT_SECONDS:.0f} s in each database"


async def copied(reminding: bool, shop: ShopUnderFaults, random: Random) -> str:
    async with publishing_copies(shop, random, reminding=reminding) as copier:
        await asyncio.sleep(6)
    if not copier.made:
        raise FaultNotInjected("nothing was published")
    return f"{copier.made} copies"
