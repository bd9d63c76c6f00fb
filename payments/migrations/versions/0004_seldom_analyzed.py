"""PostgreSQL's ANALYZE takes less time and comes less often: it keeps toasts waiting (docs/performance.md)."""

from alembic import op

revision = "0004"
down_revision = "0003"

COLUMNS = {
    "inbox": (
        *("event_id", "seq", "type", "received_at", "processed_at", "attempts", "not_before", "last_error"),
        *("received_by", "lonely_crashes"),
    ),
    "payments": (
        *("order_id", "user_id", "amount", "outcome", "reason", "account_version", "balance_before"),
        "decided_at",
    ),
    "ledger_entries": (
        *("id", "user_id", "kind", "amount", "order_id", "account_version", "balance_after"),
        *("idempotency_key", "created_at"),
    ),
}
# How often a row is changed, its insertion included: ANALYZE comes when the table has doubled.
CHANGES = {"inbox": 2, "payments": 1, "ledger_entries": 1}


def upgrade() -> None:
    # The column with the highest number decides: 10 makes it 3,000 rows, and 100, the default, 30,000.
    # The service reads by indexes that any sample speaks for.
    for table, columns in COLUMNS.items():
        _set_statistics(table, dict.fromkeys(columns, 10))
    _set_statistics("inbox", {"event": 0})
    # By default it comes when a tenth has changed: every ten seconds in a busy new shop.
    for table, changes in CHANGES.items():
        op.execute(f"ALTER TABLE {table} SET (autovacuum_analyze_scale_factor = {changes})")


def _set_statistics(table: str, targets: dict[str, int]) -> None:
    changes = (f"ALTER COLUMN {column} SET STATISTICS {target}" for column, target in targets.items())
    op.execute(f"ALTER TABLE {table} {', '.join(changes)}")
