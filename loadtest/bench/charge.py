"""Measures how many orders per second payments consumes from a full queue and charges, on one core.

    python -m loadtest.bench.charge postgresql://user:password@127.0.0.1/empty_database amqp://user:password@127.0.0.1/

The code that stores and charges is the service's own, in one process on the first core. The servers should have the
other. The same run measures the same work one event at a time (a message, a transaction for the inbox, another for
the charge), and many orders of a single account. Payments' tables and the queue are emptied first.
"""

import asyncio
import logging
import os
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import aio_pika
import structlog
import uvloop
from uuid_utils.compat import uuid7

from gozon import hops
from gozon.topology import ORDER_CREATED, TOPOLOGY
from loadtest.arguments import argument_parser
from orders.messages import order_created
from payments.accounts import NewTopUp, TopUps, open_account
from payments.charge_orders import ChargeOrders
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


class ChargeVariant(NamedTuple):
    name: str
    orders: int
    users: int
    one_by_one: bool = False


VARIANTS = (
    ChargeVariant("in batches", 40_000, 1000),
    ChargeVariant("one account", 40_000, 1),
    ChargeVariant("one by one", 1_500, 1000, one_by_one=True),
)


class ChargeTimes(NamedTuple):
    wall: float
    cpu: float


async def prepare(database: Database, users: Sequence[str]) -> None:
    async with database.begin() as connection:
        await connection.execute("TRUNCATE accounts, payments, ledger_entries, inbox, outbox, dead_letters")
    for user in users:
        await open_account(database, user)
    await TopUps(database).top_up([NewTopUp(user, 10**12) for user in users])


async def fill(broker: str, users: Sequence[str], count: int, events_per_message: int) -> None:
    so_far = [journey.now(hop, "orders-1") for hop in (hops.ACCEPTED, hops.RELAYED)]
    events = [order_created(uuid7(), users[n % len(users)], 100, TRACEPARENT, so_far).event for n in range(count)]
    async with await aio_pika.connect(broker) as connection:
        channel = await connection.channel()
        await TOPOLOGY.declare(channel)
        await (await channel.get_queue(ORDER_CREATED.name)).purge()
        for start in range(0, count, events_per_message):
            body = encode_batch(events[start : start + events_per_message])
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, ORDER_CREATED.name)


async def charge_all(database: Database, broker: str, count: int) -> ChargeTimes:
    """Stores and charges until `count` orders are charged."""
    done = asyncio.Event()
    charge = ChargeOrders("payments-1", lambda: None).charge
    left = count

    async def charge_and_count(connection: Connection, waiting: Sequence[inbox.WaitingEvent]) -> inbox.OnCommitted:
        on_charged = await charge(connection, waiting)

        def on_committed() -> None:
            nonlocal left
            on_charged()
            left -= len(waiting)
            if not left:
                done.set()

        return on_committed

    payments_inbox = Inbox(database, "payments-1", charge_and_count)
    publisher = Publisher(RabbitMQ(broker, TOPOLOGY), "bench")
    consumer = Consumer(
        RabbitMQ(broker, TOPOLOGY), "bench", ORDER_CREATED, receive, payments_inbox.store, publisher
    )
    wall, cpu = time.perf_counter(), time.process_time()
    tasks = [asyncio.create_task(worker.run()) for worker in (consumer, payments_inbox)]
    await done.wait()
    times = ChargeTimes(time.perf_counter() - wall, time.process_time() - cpu)
    consumer.stop()
    payments_inbox.stop()
    await asyncio.gather(*tasks)
    return times


async def measure(database: Database, broker: str, variant: ChargeVariant) -> ChargeTimes:
    users = [f"load-{n}" for n in range(variant.users)]
    await prepare(database, users)
    await fill(broker, users, variant.orders, 1 if variant.one_by_one else 100)
    inbox.INBOX_BATCH_SIZE, subscription.BATCH_BYTES = (1, 0) if variant.one_by_one else BATCH_LIMITS
    return await charge_all(database, broker, variant.orders)


BATCH_LIMITS = inbox.INBOX_BATCH_SIZE, subscription.BATCH_BYTES


async def main(database_url: str, broker: str) -> None:
    tune_garbage_collector()
    database = Database(database_url, "payments")
    await database.open()
    rounds = [{one.name: await measure(database, broker, one) for one in VARIANTS} for _ in range(ROUNDS)]
    rates = {one.name: statistics.median(one.orders / times[one.name].wall for times in rounds) for one in VARIANTS}
    for one in VARIANTS:
        cpu = statistics.median(times[one.name].cpu for times in rounds) / one.orders * 1e6
        print(f"{one.name:12} {rates[one.name]:8,.0f} orders/s   {cpu:6.1f} µs of this core per order")
    print(f"batches are {rates['in batches'] / rates['one by one']:.1f} times as fast as one by one")
    print(f"one account has {rates['one account'] / rates['in batches']:.2f} of the rate of many accounts")
    await database.close()


if __name__ == "__main__":
    parser = argument_parser("loadtest.bench.charge", __doc__)
    parser.add_argument("database_url")
    parser.add_argument("broker_url")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    os.sched_setaffinity(0, {0})
    uvloop.run(main(arguments.database_url, arguments.broker_url))
