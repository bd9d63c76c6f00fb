"""The idempotency key of a top-up: with one key, a user can top up once only."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE ledger_entries ADD COLUMN idempotency_key text")
    op.execute("""
        CREATE UNIQUE INDEX ledger_entries_one_of_a_key ON ledger_entries (user_id, idempotency_key)
        WHERE idempotency_key IS NOT NULL
    """)
