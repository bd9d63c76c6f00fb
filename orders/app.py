"""The wiring of orders."""

from gozon.hops import RELAYED
from gozon.topology import PAYMENT_RESULTS, TOPOLOGY
from orders.apply_payment_results import ApplyResults
from orders.messages import decode_payment_event
from orders.models import orders
from orders.place_order import PlaceOrders
from orders.remind import EVERY_SECONDS, OVERDUE, Reconciler
from orders.routes import OrdersContext, router
from shopkit.db import retention
from shopkit.db.database import Database, Migrating
from shopkit.db.gauges import Backlog
from shopkit.db.periodic import Periodic
from shopkit.db.retention import KeepKeys
from shopkit.messaging import outbox
from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.consumer import Consumer
from shopkit.messaging.publisher import Publisher
from shopkit.messaging.relay import Relay
from shopkit.runtime.batcher import Batcher
from shopkit.runtime.settings import Settings, load
from shopkit.web.identity import per_user
from shopkit.web.service import Service


class OrdersSettings(Settings, frozen=True, kw_only=True):
    database_url: str
    broker_url: str
    keep_keys_hours: KeepKeys = 72
    migrate: Migrating = "on"


def build(settings: OrdersSettings) -> Service:
    database = Database(settings.database_url, "orders", settings.migrate)
    rabbitmq = RabbitMQ(settings.broker_url, TOPOLOGY)
    publisher = Publisher(rabbitmq, settings.replica)
    relay = Relay(database, publisher, settings.replica, {"order.created": RELAYED})
    place = Batcher("orders", PlaceOrders(database, settings.replica, relay.wake))
    results = Consumer(
        rabbitmq,
        settings.replica,
        PAYMENT_RESULTS,
        decode_payment_event,
        ApplyResults(database, settings.replica, relay.wake),
        publisher,
    )
    return Service(
        "orders",
        settings,
        about="Orders: place them, list them, see how they went.",
        handlers=[router],
        workers=[
            database,
            publisher,
            relay,
            results,
            Periodic("reconciler", database, EVERY_SECONDS, Reconciler(database, relay.wake)),
            retention.of_keys(database, orders, settings.keep_keys_hours),
        ],
        measures=[Backlog(database, *outbox.BACKLOG).measure, Backlog(database, *OVERDUE).measure],
        checks={
            "database": database.check,
            "broker": publisher.check,
            "outbox": relay.check,
            "payment results": results.check,
        },
        dependencies={"call": per_user(lambda user_id: OrdersContext(user_id, database, place))},
    )


def main() -> None:
    build(load(OrdersSettings)).serve()
