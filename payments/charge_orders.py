"""Hop 5: charge the orders of an inbox batch and write their results, in one transaction."""

from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from prometheus_client import Counter
from uuid_utils.compat import uuid7

from gozon.hops import RECEIVED, SETTLED
from payments import ledger
from payments.decisions import Charge, LockedAccount, Payment, Settlement, settle
from payments.messages import OrderCreatedEvent, decode_order_created, payment_decided
from shopkit.db.database import Connection
from shopkit.messaging import event_log, inbox, inbox_store, journey, outbox
from shopkit.messaging.events import Outgoing
from shopkit.messaging.inbox_store import WaitingEvent
from shopkit.messaging.journey import Hop
from shopkit.observability import tracing

SETTLED_ORDERS = Counter("gozon_payments_settled", "Orders decided, by outcome", ["outcome"])

CONFLICT = "the order was decided before, with another user or amount"

SELECT_PAYMENTS = """
    SELECT order_id, user_id, amount, reason FROM payments WHERE order_id = ANY ($1::uuid[])
"""

# The rows are inserted in the order of their ids, so that two replicas that decide the same orders cannot deadlock.
INSERT_PAYMENTS = """
    INSERT INTO payments (order_id, user_id, amount, outcome, reason, account_version, balance_before)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[],
                         $4::text[], $5::text[],
                         $6::bigint[], $7::bigint[]) AS decided (order_id)
    ORDER BY order_id
"""


class ChargeOrders:
    """Hop 5: decides a batch of orders and writes payments, ledger entries, balances and result events.

    The inbox opens the transaction, calls this, commits, and then calls the returned function. `on_committed` is
    called by that function, to wake the relay.
    """

    def __init__(self, replica: str, on_committed: Callable[[], None]) -> None:
        self._replica = replica
        self._on_committed = on_committed

    async def charge(self, connection: Connection, waiting: Sequence[WaitingEvent]) -> Callable[[], None]:
        """Writes in the transaction of `connection`. Returns the function to call after its commit."""
        orders = [decode_order_created(event.event) for event in waiting]
        charges = [Charge(o.id, o.data.order_id, o.data.user_id, o.data.amount) for o in orders]
        # The payments must be read after the accounts are locked. A transaction that held a lock before may have
        # decided one of these orders.
        accounts = await ledger.lock_accounts(connection, (charge.user_id for charge in charges))
        payments = await _select_payments(connection, [charge.order_id for charge in charges])
        settlement = settle(charges, accounts, payments)

        await _insert_payments(connection, settlement.decided)
        await ledger.write(connection, _debits(settlement.decided), settlement.accounts)
        await outbox.add(connection, self._result_events(orders, waiting, settlement))
        for conflict in settlement.conflicts:
            await inbox_store.dead_letter(connection, conflict.event_id, CONFLICT)
        return partial(self._report, settlement, waiting)

    def _result_events(
        self, orders: Sequence[OrderCreatedEvent], waiting: Sequence[WaitingEvent], settlement: Settlement
    ) -> list[Outgoing]:
        """Returns one event per order, except for the conflicts, which have no outcome."""
        conflicting = {conflict.event_id for conflict in settlement.conflicts}
        settled_orders = [
            (order, row) for order, row in zip(orders, waiting, strict=True) if order.id not in conflicting
        ]
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
            for (order, row), payment in zip(settled_orders, settlement.outcomes, strict=True)
        ]

    def _report(self, settlement: Settlement, waiting: Sequence[WaitingEvent]) -> None:
        self._on_committed()
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


async def _select_payments(connection: Connection, order_ids: list[UUID]) -> dict[UUID, Payment]:
    """Returns the payments of orders that were decided before, without their accounts."""
    rows = await connection.fetch(SELECT_PAYMENTS, order_ids)
    return {
        order_id: Payment(order_id, user_id, amount, reason, None) for order_id, user_id, amount, reason in rows
    }


async def _insert_payments(connection: Connection, decided: Sequence[Payment]) -> None:
    if not decided:
        return
    accounts: list[LockedAccount | None] = [payment.account for payment in decided]
    await connection.execute(
        INSERT_PAYMENTS,
        [payment.order_id for payment in decided],
        [payment.user_id for payment in decided],
        [payment.amount for payment in decided],
        ["succeeded" if payment.reason is None else "failed" for payment in decided],
        [payment.reason for payment in decided],
        [account and account.version for account in accounts],
        [account and account.balance for account in accounts],
    )
