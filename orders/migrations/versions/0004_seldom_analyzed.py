"""PostgreSQL's ANALYZE takes less time and comes less often: it keeps toasts waiting (docs/performance.md)."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Two thirds of the time of an ANALYZE went to comparing journeys, which nobody looks for.
    op.execute("ALTER TABLE orders ALTER COLUMN journey SET STATISTICS 0")
    # By default it comes when a tenth has changed: every ten seconds in a busy new shop. The service
    # reads by indexes, and a plan that suits a table suits one half as large again.
    op.execute("ALTER TABLE orders SET (autovacuum_analyze_scale_factor = 0.5)")


def downgrade() -> None:
    op.execute("ALTER TABLE orders RESET (autovacuum_analyze_scale_factor)")
    op.execute("ALTER TABLE orders ALTER COLUMN journey SET STATISTICS -1")
