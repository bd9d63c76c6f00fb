"""The wiring of payments."""

from payments.accounts import TopUps
from payments.charge import ChargeOrders, Ingest
from payments.messages import receive
from payments.routes import Call, router
from shopkit.batcher import Batcher
from shopkit.broker import ORDER_CREATED
from shopkit.consumer import Consumer
from shopkit.db import Database
from shopkit.identity import on_behalf
from shopkit.inbox import Inbox
from shopkit.journey import RESULT_RELAYED
from shopkit.publisher import Publisher
from shopkit.relay import Relay
from shopkit.service import Service
from shopkit.settings import Settings, load


class PaymentsSettings(Settings, frozen=True, kw_only=True):
    database_url: str
    broker_url: str


def build(settings: PaymentsSettings) -> Service:
    database = Database(settings.database_url, "payments")
    publisher = Publisher(settings.broker_url, settings.replica)
    result_relayed = {"payment.succeeded": RESULT_RELAYED, "payment.failed": RESULT_RELAYED}
    relay = Relay(database, publisher, settings.replica, result_relayed)
    top_ups = Batcher("top-ups", TopUps(database))
    inbox = Inbox(database, settings.replica, ChargeOrders(settings.replica, relay.wake))
    created = Consumer(
        settings.broker_url,
        settings.replica,
        ORDER_CREATED,
        receive,
        Ingest(database, settings.replica, inbox.wake),
        publisher,
    )
    return Service(
        "payments",
        settings,
        handlers=[router],
        workers=[database, publisher, relay, inbox, created],
        checks={"database": database.check, "broker": publisher.check, "order events": created.check},
        dependencies={"call": on_behalf(lambda user_id: Call(user_id, database, top_ups))},
    )


def main() -> None:
    build(load(PaymentsSettings)).serve()
