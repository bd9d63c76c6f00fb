"""A balance is at most 2^53 - 1 kopecks, the largest integer that every JSON reader keeps exactly."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE accounts ADD CONSTRAINT accounts_balance_limit CHECK (balance <= 9007199254740991)")
