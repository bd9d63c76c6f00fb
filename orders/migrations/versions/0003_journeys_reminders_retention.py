"""Adds the journey of an order, the time of its next reminder, and the progress of deleting expired keys."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE orders
            ADD COLUMN journey jsonb NOT NULL DEFAULT '[]',
            ADD COLUMN remind_at timestamptz NOT NULL DEFAULT now() + interval '1 minute',
            ADD COLUMN reminders integer NOT NULL DEFAULT 0
    """)
    op.execute("DROP INDEX orders_new")
    op.execute("CREATE INDEX orders_new ON orders (remind_at) WHERE status = 'NEW'")
    op.execute("CREATE TABLE retention (name text PRIMARY KEY, done_up_to uuid NOT NULL)")
    op.execute("INSERT INTO retention VALUES ('idempotency_keys', '00000000-0000-0000-0000-000000000000')")
