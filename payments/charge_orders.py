"""Hops 4 and 5: order.created -> inbox; then debit, ledger entry, payment and outbox row in one transaction."""

from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from prometheus_client import Counter
from uuid_utils.compat import uuid7

from gozon.hops import RECEIVED, SETTLED
from payments import ledger
from payments.decisions import Charge, LockedAccount, Payment, Settlement, settle
from payments.messages import OrderCreatedEvent, decode_order_created, payment_decided
from shopkit.db.database import Connection, Database
from shopkit.messaging import event_log, inbox, inbox_store, journey, outbox
from shopkit.messaging.events import Outgoing
from shopkit.messaging.inbox_store import ReceivedEvent, WaitingEvent
from shopkit.messaging.journey import Hop
from shopkit.observability import tracing
from shopkit.observability.metrics import DUPLICATES

SETTLED_ORDERS = Counter("gozon_payments_settled", "Orders decided, by outcome", ["outcome"])

CONFLICT = "the order was decided before, with other contents"

RECORDED = """
    SELECT order_id, user_id, amount, reason FROM payments WHERE order_id = ANY ($1::uuid[])
"""

# In the order of their ids, so that two replicas that decide the same orders cannot deadlock.
RECORD = """
    INSERT INTO payments (order_id, user_id, amount, outcome, reason, account_version, balance_before)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[],
                         $4::text[], $5::text[],
                         $6::bigint[], $7::bigint[]) AS decided (order_id)
    ORDER BY order_id
"""


class Ingest:
    """Hop 4: stores what `replica` received; it is acknowledged after that. `stored` wakes the inbox."""

    def __init__(self, database: Database, replica: str, stored: Callable[[], None]) -> None:
        self._database = database
        self._replica = replica
        self._stored = stored

    async def __call__(self, received: Sequence[ReceivedEvent]) -> None:
        async with self._database.autocommit() as connection:
            new = await inbox_store.store(connection, received, self._replica)
        self._stored()
        event_log.each(RECEIVED, (event.event for event in received))
        DUPLICATES.labels("inbox").inc(len(received) - new)


class ChargeOrders:
    """Hop 5: decides orders and writes all that follows; the inbox commits. `committed` wakes the relay."""

    def __init__(self, replica: str, committed: Callable[[], None]) -> None:
        self._replica = replica
        self._committed = committed

    async def __call__(self, connection: Connection, waiting: Sequence[WaitingEvent]) -> Callable[[], None]:
        orders = [decode_order_created(event.event) for event in waiting]
        charges = [Charge(o.id, o.data.order_id, o.data.user_id, o.data.amount) for o in orders]
        # Payments are read after the locks: whoever held them before may just have decided one of these orders.
        accounts = await ledger.lock_accounts(connection, (charge.user_id for charge in charges))
        recorded = await _recorded(connection, [charge.order_id for charge in charges])
        settlement = settle(charges, accounts, recorded)

        await _record(connection, settlement.decided)
        await ledger.write(connection, _debits(settlement.decided), settlement.accounts)
        await outbox.add(connection, self._results(orders, waiting, settlement))
        for conflict in settlement.conflicts:
            await inbox_store.dead_letter(connection, conflict.event_id, CONFLICT)
        return partial(self._report, settlement, waiting)

    def _results(
        self, orders: Sequence[OrderCreatedEvent], waiting: Sequence[WaitingEvent], settlement: Settlement
    ) -> list[Outgoing]:
        conflicting = {conflict.event_id for conflict in settlement.conflicts}
        told = [(order, row) for order, row in zip(orders, waiting, strict=True) if order.id not in conflicting]
        settled = journey.now(SETTLED, self._replica)
        return [
            payment_decided(
                payment.order_id,
                payment.user_id,
                payment.amount,
                payment.reason,
                tracing.child("settle", order.traceparent),
                (*order.journey, Hop(RECEIVED, row.received_at, row.received_by), settled),
            )
            for (order, row), payment in zip(told, settlement.outcomes, strict=True)
        ]

    def _report(self, settlement: Settlement, waiting: Sequence[WaitingEvent]) -> None:
        self._committed()
        for payment in settlement.decided:
            SETTLED_ORDERS.labels(payment.reason or "succeeded").inc()
        event_log.each(SETTLED, (event.event for event in waiting))
        conflicting = {conflict.event_id for conflict in settlement.conflicts}
        for event in waiting:
            if event.event_id in conflicting:
                inbox.report_dead_letter(event, CONFLICT)


def _debits(decided: Sequence[Payment]) -> list[ledger.NewEntry]:
    return [
        ledger.NewEntry(uuid7(), p.user_id, "debit", -p.amount, p.order_id, p.account.after(-p.amount))
        for p in decided
        if p.reason is None and p.account is not None
    ]


async def _recorded(connection: Connection, order_ids: list[UUID]) -> dict[UUID, Payment]:
    rows = await connection.fetch(RECORDED, order_ids)
    return {
        order_id: Payment(order_id, user_id, amount, reason, None) for order_id, user_id, amount, reason in rows
    }


async def _record(connection: Connection, decided: Sequence[Payment]) -> None:
    if not decided:
        return
    found: list[LockedAccount | None] = [payment.account for payment in decided]
    await connection.execute(
        RECORD,
        [payment.order_id for payment in decided],
        [payment.user_id for payment in decided],
        [payment.amount for payment in decided],
        ["succeeded" if payment.reason is None else "failed" for payment in decided],
        [payment.reason for payment in decided],
        [account and account.version for account in found],
        [account and account.balance for account in found],
    )
