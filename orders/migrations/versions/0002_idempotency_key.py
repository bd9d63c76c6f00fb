"""The idempotency key of an order: with one key, a user can place one order only."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE orders ADD COLUMN idempotency_key text")
    op.execute("""
        CREATE UNIQUE INDEX orders_one_of_a_key ON orders (user_id, idempotency_key)
        WHERE idempotency_key IS NOT NULL
    """)
