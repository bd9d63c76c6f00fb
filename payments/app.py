"""The process of payments: its settings, and the parts of which it consists."""

from gozon.hops import RESULT_RELAYED
from gozon.topology import ORDER_CREATED, TOPOLOGY
from payments.accounts import TopUps
from payments.charge_orders import ChargeOrders
from payments.messages import receive
from payments.models import ledger_entries
from payments.routes import PaymentsContext, router
from shopkit.db import retention
from shopkit.db.database import Database, Migrating
from shopkit.db.gauges import Backlog
from shopkit.db.retention import CRASH_NOTES, PROCESSED_EVENTS, KeepInbox, KeepKeys
from shopkit.messaging import inbox_store, outbox
from shopkit.messaging.broker import RabbitMQ
from shopkit.messaging.consumer import Consumer
from shopkit.messaging.inbox import Inbox
from shopkit.messaging.publisher import Publisher
from shopkit.messaging.relay import Relay
from shopkit.runtime.batcher import Batcher
from shopkit.runtime.settings import Settings, load
from shopkit.web.identity import per_user
from shopkit.web.service import Service


class PaymentsSettings(Settings, frozen=True, kw_only=True):
    database_url: str
    broker_url: str
    keep_keys_hours: KeepKeys = 72
    migrate: Migrating = "on"
    keep_inbox_hours: KeepInbox = 168


def build(settings: PaymentsSettings) -> Service:
    """Returns the service. The numbers are the hops of an order in `docs/architecture.md`."""
    database = Database(settings.database_url, "payments", settings.migrate)
    rabbitmq = RabbitMQ(settings.broker_url, TOPOLOGY)
    publisher = Publisher(rabbitmq, settings.replica)
    # Hop 6: the relay publishes the payment results of the outbox, and adds the hop RESULT_RELAYED to each.
    relayed_hops = {"payment.succeeded": RESULT_RELAYED, "payment.failed": RESULT_RELAYED}
    relay = Relay(database, publisher, settings.replica, relayed_hops)
    # `routes.top_up` submits each top-up to this batcher, which calls `TopUps.top_up`.
    top_ups = Batcher("top-ups", TopUps(database).top_up)
    # Hop 5: the inbox reads stored events and calls `ChargeOrders.charge` in a transaction.
    inbox = Inbox(database, settings.replica, ChargeOrders(settings.replica, relay.wake).charge)
    # Hop 4: the consumer decodes the order.created events of its queue, and the inbox stores them.
    created = Consumer(
        rabbitmq,
        settings.replica,
        ORDER_CREATED,
        receive,
        inbox.store,
        publisher,
    )
    return Service(
        "payments",
        settings,
        about="Open an account, top it up, and see every change of its balance.",
        handlers=[router],
        workers=[
            database,
            publisher,
            relay,
            inbox,
            created,
            retention.of_keys(database, ledger_entries, settings.keep_keys_hours),
            retention.worker(database, "processed_events", PROCESSED_EVENTS, settings.keep_inbox_hours),
            retention.worker(database, "crash_notes", CRASH_NOTES, settings.keep_inbox_hours),
        ],
        measures=[
            Backlog(database, *outbox.BACKLOG).measure,
            Backlog(database, *inbox_store.BACKLOG).measure,
            Backlog(database, *inbox_store.DEAD_LETTERS).measure,
        ],
        checks={
            "database": database.check,
            "broker": publisher.check,
            "outbox": relay.check,
            "inbox": inbox.check,
            "order events": created.check,
        },
        dependencies={"call": per_user(lambda user_id: PaymentsContext(user_id, database, top_ups))},
    )


def main() -> None:
    build(load(PaymentsSettings)).serve()
