from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import pytest

from orders.apply_payment_results import ApplyResults
from orders.messages import decode_payment_event
from orders.place_order import NewOrder, PlaceOrders
from payments.accounts import NewTopUp, TopUps, open_account
from payments.charge_orders import ChargeOrders
from payments.messages import receive
from shopkit.db.database import Database
from shopkit.messaging import outbox
from shopkit.messaging.events import Outgoing
from shopkit.messaging.inbox import Inbox
from shopkit.messaging.low_water_mark import LowWaterMark
from tests.servers import CopyOf

# A comparison of signed numbers, or of only a part of each id, would sort some of these ids wrongly.
IDS = [
    UUID("00000000-0000-7000-8000-ffffffffffff"),
    UUID("00000000-0000-7001-8000-000000000000"),
    UUID("7fffffff-ffff-7fff-bfff-ffffffffffff"),
    UUID("80000000-0000-7000-8000-000000000000"),
    UUID("ffffffff-ffff-7fff-bfff-ffffffffffff"),
]


def nothing() -> None:
    pass


class Books:
    """Both databases, changed by the code of the services, but without their processes and without a broker."""

    def __init__(self, orders: Database, payments: Database) -> None:
        self.orders = orders
        self.payments = payments
        self._orders = PlaceOrders(orders, "orders-1", nothing)
        self._results = ApplyResults(orders, "orders-1", nothing)
        self._inbox = Inbox(payments, "payments-1", ChargeOrders("payments-1", nothing).charge)

    @property
    def urls(self) -> tuple[str, str]:
        """The URLs of the orders database and of the payments database."""
        return self.orders.url, self.payments.url

    async def open(self, user_id: str, *top_ups: int) -> None:
        await open_account(self.payments, user_id)
        for amount in top_ups:
            await self.top_up(user_id, amount)

    async def top_up(self, user_id: str, amount: int) -> None:
        await TopUps(self.payments).top_up([NewTopUp(user_id, amount)])

    async def place(self, *orders: NewOrder) -> None:
        await self._orders.place(orders)

    async def settle(self) -> bool:
        """Processes the waiting events, as relays, inbox and consumers do. Returns False if there were none."""
        created = await _taken(self.orders, "order.created")
        if created:
            await self._inbox.store([receive(event.event) for event in created])
        await self._inbox.process_batch()
        decided = await _taken(self.payments, "payment.succeeded", "payment.failed")
        if decided:
            await self._results.apply([decode_payment_event(event.event) for event in decided])
        return bool(created or decided)

    async def trade(self) -> None:
        """Places an order for every possible outcome, each by its own user. Some accounts have no order."""
        await self.open("ann", 500)
        await self.open("bob", 100)
        await self.open("dora")
        await self.open("eve", 60)
        await self.open("fred", 500)
        await self.open("hal", 10, 20, 30)
        wanted = [("ann", 200), ("bob", 200), ("carol", 5), ("dora", 1), ("eve", 60)]
        await self.place(
            *(NewOrder(user, amount, "a lamp", id=id_) for (user, amount), id_ in zip(wanted, IDS, strict=True))
        )
        while await self.settle():
            pass


async def _taken(database: Database, *routing_keys: str) -> list[Outgoing]:
    """Takes the outbox rows as a relay does. Returns the events with `routing_keys` and drops the others."""
    async with database.begin() as connection:
        return [
            event
            for event in await outbox.take(connection, 500, LowWaterMark())
            if event.routing_key in routing_keys
        ]


@pytest.fixture
async def books(orders_database: Database, payments_database: Database) -> Books:
    """Empty databases of this test only."""
    return Books(orders_database, payments_database)


@pytest.fixture(scope="session")
async def healthy(servers: dict[str, Any], template_databases: dict[str, str]) -> AsyncGenerator[Books]:
    """Databases without a defect, shared by all tests. A test must roll its changes back."""
    async with (
        CopyOf(servers, template_databases["orders"]) as orders_url,
        CopyOf(servers, template_databases["payments"]) as payments_url,
    ):
        books = Books(Database(orders_url, "orders"), Database(payments_url, "payments"))
        for database in (books.orders, books.payments):
            await database.open()
        await books.trade()
        yield books
        for database in (books.orders, books.payments):
            await database.close()
