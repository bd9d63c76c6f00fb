"""The wiring of payments."""

from payments.accounts import TopUps
from payments.charge import Ingest, charge
from payments.messages import receive
from payments.routes import Call, router
from shopkit.batcher import Batcher
from shopkit.broker import ORDER_CREATED
from shopkit.consumer import Consumer
from shopkit.db import Database
from shopkit.identity import on_behalf
from shopkit.inbox import Inbox
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
    relay = Relay(database, publisher)
    top_ups = Batcher("top-ups", TopUps(database))
    inbox = Inbox(database, charge, relay.wake)
    created = Consumer(
        settings.broker_url, settings.replica, ORDER_CREATED, receive, Ingest(database, inbox.wake), publisher
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
