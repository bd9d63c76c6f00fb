"""Every invariant, examined on one snapshot of each database."""

from collections.abc import Sequence

from auditor.decisions import DECISIONS
from auditor.invariants import Finding, Limits, Queried, examine
from auditor.ledger import LEDGER
from auditor.progress import ORDERS, WAITING_IN_PAYMENTS
from auditor.reconciliation import agreement
from auditor.snapshot import AuditSnapshot, connected


async def audit(orders_url: str, payments_url: str, limits: Limits) -> list[Finding]:
    async with connected("orders", orders_url) as orders, connected("payments", payments_url) as payments:
        # Orders first, and nothing between the two: `agreement` says why.
        await orders.take()
        await payments.take()
        return await everything(orders, payments, limits)


async def audit_ledger(payments_url: str) -> list[Finding]:
    """Only the money, as far as payments alone can tell."""
    async with connected("payments", payments_url) as payments:
        await payments.take()
        return await _examine(payments, [*LEDGER, *DECISIONS], Limits())


async def everything(orders: AuditSnapshot, payments: AuditSnapshot, limits: Limits) -> list[Finding]:
    return [
        *await _examine(payments, [*LEDGER, *DECISIONS], limits),
        *await _examine(orders, ORDERS, limits),
        *await agreement(orders, payments, limits),
        *await _examine(payments, WAITING_IN_PAYMENTS, limits),
    ]


async def _examine(snapshot: AuditSnapshot, invariants: Sequence[Queried], limits: Limits) -> list[Finding]:
    return [await examine(snapshot, invariant, limits) for invariant in invariants]
