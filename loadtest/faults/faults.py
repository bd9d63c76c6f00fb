"""What can happen. Each fault begins, lasts and ends within its function, which says what it did."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import NamedTuple

from loadtest.faults.copies import copying
from loadtest.faults.fragile import FAKETIME
from loadtest.faults.links import Link
from loadtest.faults.points import POINTS
from loadtest.faults.servers import rabbitmqctl, wipe_redis
from loadtest.faults.shop import Shop
from shopkit.broker import ORDER_CREATED, ORDER_STATUS, PAYMENT_RESULTS, Queue

HEALED_IN = 60.0
# What a deleted queue held is sent again by the reconciler, which looks after a minute.
REMINDED_IN = 100.0
# Longer than a confirm, a command of the database, an answer at the gateway and an idle transaction may take.
PAST_EVERY_TIMEOUT = 35.0
POINT_SECONDS = 30.0
# PostgreSQL's message that ends a prepared statement, and commits one that is a transaction of its own.
SYNC = b"S\x00\x00\x00\x04"

Inflict = Callable[[Shop, Random], Awaitable[str]]


class NotHappened(Exception):
    """The plan is at fault, and not the shop."""


class Fault(NamedTuple):
    """`limit`: so many seconds after its end everything must be well."""

    name: str
    inflict: Inflict
    limit: float = HEALED_IN


async def killed(service: str, shop: Shop, random: Random) -> str:
    replica = random.choice(shop.of(service))
    await shop.kill(replica)
    return replica


async def killed_at(point: str, shop: Shop, random: Random) -> str:
    """The load leads the replica to the point."""
    replica = random.choice(shop.of(*POINTS[point].services))
    count = random.randint(1, 5)
    trap = shop.directory / "traps" / replica
    trap.write_text(f"{point} {count}")
    deadline = time.monotonic() + POINT_SECONDS
    while trap.exists():
        if time.monotonic() > deadline:
            trap.unlink()
            raise NotHappened(f"{replica} never came to {point}")
        await asyncio.sleep(0.02)
    return f"{replica}, at call {count}"


async def frozen(service: str, seconds: float, shop: Shop, random: Random) -> str:
    replica = random.choice(shop.of(service))
    await shop.signal(replica, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    await shop.signal(replica, signal.SIGCONT)
    return f"{replica}, {seconds:.0f} s"


async def stopped(server: str, shop: Shop, random: Random) -> str:
    seconds = random.uniform(1, 6)
    await shop.supervisorctl("stop", server)
    await asyncio.sleep(seconds)
    await shop.supervisorctl("start", server)
    return f"for {seconds:.1f} s"


async def server_killed(server: str, shop: Shop, random: Random) -> str:  # noqa: ARG001
    await shop.kill(server)
    return "the supervisor starts it again"


async def memory_alarm(shop: Shop, random: Random) -> str:
    """Whoever publishes is blocked, and consumers go on."""
    seconds = random.uniform(3, 12)
    await rabbitmqctl(shop, "set_vm_memory_high_watermark", "0.00001")
    await asyncio.sleep(seconds)
    await rabbitmqctl(shop, "set_vm_memory_high_watermark", "0.4")
    return f"for {seconds:.1f} s"


async def queue_deleted(queue: Queue, shop: Shop, random: Random) -> str:  # noqa: ARG001
    await shop.contents.broker("DELETE", f"queues/%2F/{queue.name}")
    return queue.name


async def unbound(queue: Queue, shop: Shop, random: Random) -> str:
    """What is published meanwhile has no queue and is returned; a new session declares the binding again."""
    seconds = random.uniform(2, 5)
    for key in queue.routing_keys:
        await shop.contents.broker("DELETE", f"bindings/%2F/e/gozon.events/q/{queue.name}/{key}")
    await asyncio.sleep(seconds)
    for key in queue.routing_keys:
        await shop.contents.broker("POST", f"bindings/%2F/e/gozon.events/q/{queue.name}", {"routing_key": key})
    return f"{queue.name} for {seconds:.1f} s"


async def redis_wiped(shop: Shop, random: Random) -> str:  # noqa: ARG001
    """Pages are told that something may be missing, and read their orders."""
    shop.redis_wiped = True
    await shop.supervisorctl("stop", "redis")
    wipe_redis(shop.directory)
    await shop.supervisorctl("start", "redis")
    return "restarted empty"


async def backends_terminated(shop: Shop, random: Random) -> str:
    """In volleys; those that are committing whenever there is one."""
    ended = 0
    for _ in range(60):
        at = "query ILIKE 'COMMIT%' OR query ILIKE '%INSERT INTO%'" if random.random() < 0.9 else "true"
        query = f"""
            SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname IN ('orders', 'payments') AND application_name = 'gozon' AND state <> 'idle' AND ({at})
        """
        [(count,)] = await shop.contents.sql("admin", query)
        ended += count
        await asyncio.sleep(0.05)
    return f"{ended} of them"


async def answers_to_commit_lost(service: str, shop: Shop, random: Random) -> str:
    """The server commits, and who asked never hears of it."""
    link = shop.links[f"{service} to postgres"]
    deadline = time.monotonic() + 5
    words = random.choice([b"COMMIT;", SYNC])
    link.lose_answers_to(words)
    while link.snared < 3 and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    link.heal()
    lost, link.snared = link.snared, 0
    return f"{lost} answers lost to {words!r}"


async def cut(shop: Shop, random: Random) -> str:
    link, seconds = _some_link(shop, random), random.uniform(1, 8)
    await link.close()
    await asyncio.sleep(seconds)
    await link.open()
    return f"{link.way.name} for {seconds:.1f} s"


async def half_open(shop: Shop, random: Random) -> str:
    """Nothing goes through and nothing closes; in the end the connections turn out to be gone."""
    link, seconds = _some_link(shop, random), random.uniform(5, 20)
    link.hold()
    await asyncio.sleep(seconds)
    link.abort()
    link.heal()
    return f"{link.way.name} for {seconds:.1f} s"


async def one_way(shop: Shop, random: Random) -> str:
    """What is said arrives, and the answers do not; or the other way round. Then all of it arrives late."""
    link, seconds, direction = _some_link(shop, random), random.uniform(5, 20), random.choice(["there", "back"])
    link.hold(direction)
    await asyncio.sleep(seconds)
    link.heal()
    return f"{link.way.name}, nothing comes {direction} for {seconds:.1f} s"


async def slow(shop: Shop, random: Random) -> str:
    link, seconds = _some_link(shop, random), random.uniform(5, 15)
    link.slow(latency := random.uniform(0.05, 0.4))
    await asyncio.sleep(seconds)
    link.heal()
    return f"{link.way.name}, {latency * 1000:.0f} ms for {seconds:.1f} s"


def _some_link(shop: Shop, random: Random) -> Link:
    return shop.links[random.choice(sorted(shop.links))]


async def copied(reminding: bool, shop: Shop, random: Random) -> str:
    async with copying(shop.at["broker"], random, reminding=reminding) as copier:
        await asyncio.sleep(6)
    return f"{copier.made} copies"


async def wrong_clock(shop: Shop, random: Random) -> str:
    """A replica that lives an hour ahead or behind for a while."""
    replica = random.choice(shop.of("orders", "payments", "notifier"))
    shop.set_clock(replica, hours := random.choice(["-1h", "+1h"]))
    await shop.kill(replica)
    await asyncio.sleep(10)
    shop.set_clock(replica, "")
    await shop.kill(replica)
    return f"{replica} {hours}"


SERVICES = ("orders", "payments", "notifier", "gateway")
SERVERS = ("rabbitmq", "redis", "postgres")

FAULTS = {
    fault.name: fault
    for fault in (
        *(Fault(f"kill {service}", partial(killed, service)) for service in SERVICES),
        *(Fault(f"kill {point}", partial(killed_at, point)) for point in POINTS),
        *(Fault(f"freeze {service}", partial(frozen, service, PAST_EVERY_TIMEOUT)) for service in SERVICES),
        *(Fault(f"stop {server}", partial(stopped, server)) for server in SERVERS),
        *(Fault(f"kill {server}", partial(server_killed, server)) for server in SERVERS),
        Fault("memory alarm", memory_alarm),
        # Not the notifier's: the toasts in it would be gone, and nobody sends them again.
        *(
            Fault(f"delete {q.name}", partial(queue_deleted, q), REMINDED_IN)
            for q in (ORDER_CREATED, PAYMENT_RESULTS)
        ),
        *(Fault(f"unbind {q.name}", partial(unbound, q)) for q in (ORDER_CREATED, PAYMENT_RESULTS, ORDER_STATUS)),
        Fault("wipe redis", redis_wiped),
        Fault("terminate backends", backends_terminated),
        *(Fault(f"lose commits of {s}", partial(answers_to_commit_lost, s)) for s in ("orders", "payments")),
        Fault("cut a link", cut),
        Fault("half-open link", half_open),
        Fault("one-way link", one_way),
        Fault("slow link", slow),
        Fault("copy everything", partial(copied, False)),
        Fault("remind of everything", partial(copied, True)),
        *([Fault("wrong clock", wrong_clock)] if FAKETIME.exists() else []),
    )
}
