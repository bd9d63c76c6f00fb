"""The tables of the payments database. Amounts and balances are in kopecks."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)

from payments.decisions import BALANCE_LIMIT
from shopkit.db import retention
from shopkit.messaging import inbox_store, outbox

metadata = MetaData()

# `version` is the number of the account's ledger entries. The migration sets fillfactor = 50, which leaves room in
# each page for updates of its rows.
accounts = Table(
    "accounts",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column(
        "balance",
        BigInteger,
        CheckConstraint("balance >= 0", name="accounts_balance_not_negative"),
        CheckConstraint(f"balance <= {BALANCE_LIMIT}", name="accounts_balance_limit"),
        nullable=False,
        server_default="0",
    ),
    Column("version", BigInteger, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# One row per order, never deleted. "An order is charged at most once" rests on this primary key.
payments = Table(
    "payments",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column(
        "outcome",
        Text,
        CheckConstraint("outcome IN ('succeeded', 'failed')", name="payments_outcome_known"),
        nullable=False,
    ),
    Column("reason", Text),
    Column("account_version", BigInteger),
    Column("balance_before", BigInteger),
    Column("decided_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# `amount` is negative for a debit, so the balance is always the sum of an account's entries.
ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column(
        "kind",
        Text,
        CheckConstraint("kind IN ('top_up', 'debit')", name="ledger_entries_kind_known"),
        nullable=False,
    ),
    Column(
        "amount",
        BigInteger,
        CheckConstraint("amount <> 0", name="ledger_entries_amount_not_zero"),
        nullable=False,
    ),
    Column("order_id", Uuid),
    Column("account_version", BigInteger, nullable=False),
    Column(
        "balance_after",
        BigInteger,
        CheckConstraint("balance_after >= 0", name="ledger_entries_balance_not_negative"),
        nullable=False,
    ),
    Column("idempotency_key", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("user_id", "account_version", name="ledger_entries_no_version_twice"),
    UniqueConstraint("order_id", name="ledger_entries_one_of_an_order"),
)

Index(
    "ledger_entries_one_of_a_key",
    ledger_entries.c.user_id,
    ledger_entries.c.idempotency_key,
    unique=True,
    postgresql_where=ledger_entries.c.idempotency_key.is_not(None),
)

inbox_store.tables(metadata)
outbox.table(metadata)
retention.table(metadata)
