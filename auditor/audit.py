"""The audit: examines every invariant on one snapshot of each database."""

from collections.abc import Sequence

from auditor.decisions import DECISIONS
from auditor.invariants import Finding, Limits, QueryInvariant, examine
from auditor.ledger import LEDGER
from auditor.progress import ORDERS, WAITING_IN_PAYMENTS
from auditor.reconciliation import reconcile
from auditor.snapshot import AuditSnapshot, open_database


async def audit(orders_url: str, payments_url: str, limits: Limits) -> list[Finding]:
    """Returns one finding per invariant. Raises Unreadable if a database cannot be read."""
    async with open_database("orders", orders_url) as orders, open_database("payments", payments_url) as payments:
        # Orders must be first, and payments immediately after it: `auditor.reconciliation` relies on this.
        await orders.take()
        await payments.take()
        return await examine_all(orders, payments, limits)


async def audit_ledger(payments_url: str) -> list[Finding]:
    """Examines the invariants of money that need the payments database only."""
    async with open_database("payments", payments_url) as payments:
        await payments.take()
        return await _examine(payments, [*LEDGER, *DECISIONS], Limits())


async def examine_all(orders: AuditSnapshot, payments: AuditSnapshot, limits: Limits) -> list[Finding]:
    return [
        *await _examine(payments, [*LEDGER, *DECISIONS], limits),
        *await _examine(orders, ORDERS, limits),
        *await reconcile(orders, payments, limits),
        *await _examine(payments, WAITING_IN_PAYMENTS, limits),
    ]


async def _examine(snapshot: AuditSnapshot, invariants: Sequence[QueryInvariant], limits: Limits) -> list[Finding]:
    return [await examine(snapshot, invariant, limits) for invariant in invariants]
