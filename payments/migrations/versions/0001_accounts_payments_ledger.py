"""Accounts, payments, the ledger, inbox and outbox."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE accounts (
            user_id text PRIMARY KEY,
            balance bigint NOT NULL DEFAULT 0 CONSTRAINT accounts_balance_not_negative CHECK (balance >= 0),
            version bigint NOT NULL DEFAULT 0,
            created_at timestamptz NOT NULL DEFAULT now()
        ) WITH (fillfactor = 50)
    """)
    op.execute("""
        CREATE TABLE payments (
            order_id uuid PRIMARY KEY,
            user_id text NOT NULL,
            amount bigint NOT NULL,
            outcome text NOT NULL
                CONSTRAINT payments_outcome_known CHECK (outcome IN ('succeeded', 'failed')),
            reason text,
            account_version bigint,
            balance_before bigint,
            decided_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("""
        CREATE TABLE ledger_entries (
            id uuid PRIMARY KEY,
            user_id text NOT NULL,
            kind text NOT NULL CONSTRAINT ledger_entries_kind_known CHECK (kind IN ('top_up', 'debit')),
            amount bigint NOT NULL CONSTRAINT ledger_entries_amount_not_zero CHECK (amount <> 0),
            order_id uuid CONSTRAINT ledger_entries_one_of_an_order UNIQUE,
            account_version bigint NOT NULL,
            balance_after bigint NOT NULL
                CONSTRAINT ledger_entries_balance_not_negative CHECK (balance_after >= 0),
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT ledger_entries_no_version_twice UNIQUE (user_id, account_version)
        )
    """)
    op.execute("""
        CREATE TABLE inbox (
            event_id uuid PRIMARY KEY,
            seq bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
            type text NOT NULL,
            event bytea NOT NULL,
            received_at timestamptz NOT NULL DEFAULT now(),
            processed_at timestamptz,
            attempts integer NOT NULL DEFAULT 0,
            not_before timestamptz,
            last_error text
        )
    """)
    op.execute("CREATE INDEX inbox_waiting ON inbox (seq) WHERE processed_at IS NULL")
    op.execute("""
        CREATE TABLE dead_letters (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            event_id uuid NOT NULL,
            type text NOT NULL,
            event bytea NOT NULL,
            error text NOT NULL,
            attempts integer NOT NULL,
            parked_at timestamptz NOT NULL DEFAULT now(),
            resolved_at timestamptz,
            resolution text
        )
    """)
    op.execute("""
        CREATE TABLE outbox (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            event_id uuid NOT NULL,
            routing_key text NOT NULL,
            event bytea NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
        )
    """)
