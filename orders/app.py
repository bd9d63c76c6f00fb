"""The process of orders: its settings, and the parts of which it consists."""

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
    """Returns the service. The numbers are the hops of an order in `docs/architecture.md`."""
    database = Database(settings.database_url, "orders", settings.migrate)
    rabbitmq = RabbitMQ(settings.broker_url, TOPOLOGY)
    publisher = Publisher(rabbitmq, settings.replica)
    # Hops 3 and 8: the relay publishes the events of the outbox. To order.created it adds the hop RELAYED.
    relay = Relay(database, publisher, settings.replica, {"order.created": RELAYED})
    # Hops 1 and 2: `routes.create_order` submits each order to this batcher, which calls `PlaceOrders.place`.
    place = Batcher("orders", PlaceOrders(database, settings.replica, relay.wake).place)
    # Hop 7: the consumer decodes the payment results of its queue and calls `ApplyResults.apply`.
    results = Consumer(
        rabbitmq,
        settings.replica,
        PAYMENT_RESULTS,
        decode_payment_event,
        ApplyResults(database, settings.replica, relay.wake).apply,
        publisher,
    )
    return Service(
        "orders",
        settings,
        about="Place orders, list them, and see their status.",
        handlers=[router],
        workers=[
            database,
            publisher,
            relay,
            results,
            Periodic("reconciler", database, EVERY_SECONDS, Reconciler(database, relay.wake).remind),
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
