"""Audits one payments database."""

from auditor.audit import audit_ledger
from auditor.report import all_hold, as_text
from shopkit.db.database import Database
from tests.servers import rows


async def audit(database: Database) -> dict[str, int]:
    """Fails if an invariant of money is violated. Returns the balances by user id."""
    findings = await audit_ledger(database.url)
    assert all_hold(findings), as_text(findings)
    return {row.user_id: row.balance for row in await rows(database, "SELECT user_id, balance FROM accounts")}
