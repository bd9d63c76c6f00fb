"""Adds the receiver of an event, the notes of the crash guard, and the progress of deleting expired keys."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE inbox ADD COLUMN received_by text NOT NULL DEFAULT '', ADD COLUMN lonely_crashes integer
    """)
    op.execute("CREATE INDEX inbox_processed ON inbox (processed_at) WHERE processed_at IS NOT NULL")
    op.execute("""
        CREATE INDEX inbox_suspects ON inbox (seq) WHERE processed_at IS NULL AND lonely_crashes IS NOT NULL
    """)
    # An unlogged table needs no flush to disk. A crash of PostgreSQL empties it, which is right: the crash guard
    # must only count crashes of our own processes.
    op.execute("""
        CREATE UNLOGGED TABLE inbox_in_hand (
            id uuid PRIMARY KEY,
            event_ids uuid[] NOT NULL,
            replica text NOT NULL,
            taken_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("CREATE TABLE retention (name text PRIMARY KEY, done_up_to uuid NOT NULL)")
    op.execute("INSERT INTO retention VALUES ('idempotency_keys', '00000000-0000-0000-0000-000000000000')")
