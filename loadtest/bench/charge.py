"""How many orders a second payments takes from a full queue and charges, on one core.

    python -m loadtest.bench.charge postgresql://user:password@127.0.0.1/empty_database amqp://user:password@127.0.0.1/

Ingest and charge are those of the service, in one process on one core; the servers have the other. The same
work one event at a time (a message, a transaction for the inbox, a transaction for the charge) is measured
in the same run, and so is a rush on a single account. The queue is emptied before and after.
"""

import asyncio
import logging
import os
import statistics
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import aio_pika
import structlog
import uvloop
from uuid_utils.compat import uuid7

from gozon import hops
from gozon.topology import ORDER_CREATED, TOPOLOGY
from orders.messages import order_created
from payments.accounts import NewTopUp, TopUps, open_account
from payments.charge_orders import ChargeOrders, Ingest
from payments.messages import receive
from shopkit.db.database import Connection, Database
from shopkit.messaging import inbox, journey, subscription
from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.consumer import Consumer
from shopkit.messaging.events import encode_batch
from shopkit.messaging.inbox import Inbox
from shopkit.messaging.publisher import Publisher
from shopkit.web.service import tune_garbage_collector

ROUNDS = 3
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class ChargeWay(NamedTuple):
    name: str
    orders: int
    users: int
    one_by_one: bool = False


WAYS = (
    ChargeWay("in batches", 40_000, 1000),
    ChargeWay("one account", 40_000, 1),
    ChargeWay("one by one", 1_500, 1000, one_by_one=True),
)


class ChargeTimes(NamedTuple):
    wall: float
    cpu: float


async def prepare(database: Database, users: Sequence[str]) -> None:
    async with database.begin() as connection:
        await connection.execute("TRUNCATE accounts, payments, ledger_entries, inbox, outbox, dead_letters")
    for user in users:
        await open_account(database, user)
    await TopUps(database)([NewTopUp(user, 10**12) for user in users])


async def fill(broker: str, users: Sequence[str], count: int, a_message: int) -> None:
    made = [journey.now(hop, "orders-1") for hop in (hops.ACCEPTED, hops.RELAYED)]
    events = [order_created(uuid7(), users[n % len(users)], 100, TRACEPARENT, made).event for n in range(count)]
    async with await aio_pika.connect(broker) as connection:
        channel = await connection.channel()
        await TOPOLOGY.declare(channel)
        await (await channel.get_queue(ORDER_CREATED.name)).purge()
        for start in range(0, count, a_message):
            body = encode_batch(events[start : start + a_message])
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, ORDER_CREATED.name)


async def take(database: Database, broker: str, count: int) -> ChargeTimes:
    """Runs ingest and charge until `count` orders are paid."""
    done = asyncio.Event()
    charge = ChargeOrders("payments-1", lambda: None)
    left = count

    async def counted(connection: Connection, waiting: Sequence[inbox.WaitingEvent]) -> inbox.Committed:
        committed = await charge(connection, waiting)

        def counting() -> None:
            nonlocal left
            committed()
            left -= len(waiting)
            if not left:
                done.set()

        return counting

    working = Inbox(database, "payments-1", counted)
    publisher = Publisher(RabbitMQ(broker, TOPOLOGY), "bench")
    ingest = Ingest(database, "payments-1", working.wake)
    consuming = Consumer(RabbitMQ(broker, TOPOLOGY), "bench", ORDER_CREATED, receive, ingest, publisher)
    wall, cpu = time.perf_counter(), time.process_time()
    tasks = [asyncio.create_task(worker.run()) for worker in (consuming, working)]
    await done.wait()
    taken = ChargeTimes(time.perf_counter() - wall, time.process_time() - cpu)
    consuming.stop()
    working.stop()
    await asyncio.gather(*tasks)
    return taken


async def measure(database: Database, broker: str, way: ChargeWay) -> ChargeTimes:
    users = [f"load-{n}" for n in range(way.users)]
    await prepare(database, users)
    await fill(broker, users, way.orders, 1 if way.one_by_one else 100)
    inbox.INBOX_BATCH_SIZE, subscription.BATCH_BYTES = (1, 0) if way.one_by_one else BATCHED
    return await take(database, broker, way.orders)


BATCHED = inbox.INBOX_BATCH_SIZE, subscription.BATCH_BYTES


async def main(database_url: str, broker: str) -> None:
    tune_garbage_collector()
    database = Database(database_url, "payments")
    await database.open()
    rounds = [{way.name: await measure(database, broker, way) for way in WAYS} for _ in range(ROUNDS)]
    rates = {way.name: statistics.median(way.orders / taken[way.name].wall for taken in rounds) for way in WAYS}
    for way in WAYS:
        cpu = statistics.median(taken[way.name].cpu for taken in rounds) / way.orders * 1e6
        print(f"{way.name:12} {rates[way.name]:8,.0f} orders/s   {cpu:6.1f} us of this core an order")
    print(f"batches make it {rates['in batches'] / rates['one by one']:.1f} times as fast as one by one")
    print(f"one account keeps {rates['one account'] / rates['in batches']:.2f} of it")
    await database.close()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    os.sched_setaffinity(0, {0})
    uvloop.run(main(sys.argv[1], sys.argv[2]))
