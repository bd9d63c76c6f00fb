"""Hops 4 and 5: order.created -> inbox; then debit, ledger entry, payment and outbox row in one transaction."""

from collections.abc import Callable, Sequence
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from payments import ledger
from payments.messages import decode_order_created, payment_decided
from payments.settle import Account, Charge, Payment, settle
from shopkit import inbox, outbox
from shopkit.db import Database
from shopkit.inbox import Received

SETTLED = Counter("gozon_payments_settled", "Orders decided, by outcome", ["outcome"])

RECORDED = text("""
    SELECT order_id, user_id, amount, reason FROM payments WHERE order_id = ANY (CAST(:order_ids AS uuid[]))
""")

RECORD = text("""
    INSERT INTO payments (order_id, user_id, amount, outcome, reason, account_version, balance_before)
    SELECT * FROM unnest(CAST(:order_ids AS uuid[]), CAST(:user_ids AS text[]), CAST(:amounts AS bigint[]),
                         CAST(:outcomes AS text[]), CAST(:reasons AS text[]),
                         CAST(:versions AS bigint[]), CAST(:balances AS bigint[]))
""")


class Ingest:
    """Hop 4: stores what was received; it is acknowledged after that. `stored` wakes the inbox."""

    def __init__(self, database: Database, stored: Callable[[], None]) -> None:
        self._database = database
        self._stored = stored

    async def __call__(self, received: Sequence[Received]) -> None:
        async with self._database.begin() as connection:
            await inbox.store(connection, received)
        self._stored()


async def charge(connection: AsyncConnection, received: Sequence[Received]) -> None:
    """Hop 5: decides the orders of `received` and writes all that follows; the inbox commits."""
    charges = [_charge(event) for event in received]
    # Payments are read after the locks: whoever held them before may just have decided one of these orders.
    accounts = await ledger.lock_accounts(connection, (charge.user_id for charge in charges))
    recorded = await _recorded(connection, [charge.order_id for charge in charges])
    settlement = settle(charges, accounts, recorded)

    await _record(connection, settlement.decided)
    await ledger.write(connection, _debits(settlement.decided), settlement.accounts)
    await outbox.add(
        connection, [payment_decided(p.order_id, p.user_id, p.amount, p.reason) for p in settlement.outcomes]
    )
    for conflict in settlement.conflicts:
        await inbox.park(connection, conflict.event_id, "the order was decided before, with other contents")
    for payment in settlement.decided:
        SETTLED.labels(payment.reason or "succeeded").inc()


def _charge(received: Received) -> Charge:
    event = decode_order_created(received.event)
    return Charge(event.id, event.data.order_id, event.data.user_id, event.data.amount)


def _debits(decided: Sequence[Payment]) -> list[ledger.Entry]:
    return [
        ledger.Entry(uuid7(), p.user_id, "debit", -p.amount, p.order_id, p.account.after(-p.amount))
        for p in decided
        if p.reason is None and p.account is not None
    ]


async def _recorded(connection: AsyncConnection, order_ids: list[UUID]) -> dict[UUID, Payment]:
    rows = await connection.execute(RECORDED, {"order_ids": order_ids})
    return {row.order_id: Payment(row.order_id, row.user_id, row.amount, row.reason, None) for row in rows}


async def _record(connection: AsyncConnection, decided: Sequence[Payment]) -> None:
    if not decided:
        return
    found: list[Account | None] = [payment.account for payment in decided]
    await connection.execute(
        RECORD,
        {
            "order_ids": [payment.order_id for payment in decided],
            "user_ids": [payment.user_id for payment in decided],
            "amounts": [payment.amount for payment in decided],
            "outcomes": ["succeeded" if payment.reason is None else "failed" for payment in decided],
            "reasons": [payment.reason for payment in decided],
            "versions": [account and account.version for account in found],
            "balances": [account and account.balance for account in found],
        },
    )
