"""Orders and their outbox."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE orders (
            id uuid PRIMARY KEY,
            user_id text NOT NULL,
            amount bigint NOT NULL CONSTRAINT orders_amount_positive CHECK (amount > 0),
            description text NOT NULL,
            status text NOT NULL DEFAULT 'NEW'
                CONSTRAINT orders_status_known CHECK (status IN ('NEW', 'FINISHED', 'CANCELLED')),
            reason text,
            version integer NOT NULL DEFAULT 1,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX orders_of_user ON orders (user_id, id DESC)")
    op.execute("CREATE INDEX orders_new ON orders (created_at) WHERE status = 'NEW'")
    op.execute("""
        CREATE TABLE outbox (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            event_id uuid NOT NULL,
            routing_key text NOT NULL,
            event bytea NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
        )
    """)
