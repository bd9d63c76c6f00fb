"""The tables of the orders database."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shopkit.db import retention
from shopkit.messaging import outbox

metadata = MetaData()

# `amount` is in kopecks. `id` is a UUIDv7: in descending order of ids, the newest order comes first.
# `remind_at` and `reminders` belong to `orders.remind`.
orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount > 0", name="orders_amount_positive"), nullable=False),
    Column("description", Text, nullable=False),
    Column(
        "status",
        Text,
        CheckConstraint("status IN ('NEW', 'FINISHED', 'CANCELLED')", name="orders_status_known"),
        nullable=False,
        server_default="NEW",
    ),
    Column("reason", Text),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("idempotency_key", Text),
    Column("journey", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column(
        "remind_at", DateTime(timezone=True), nullable=False, server_default=text("now() + interval '1 minute'")
    ),
    Column("reminders", Integer, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
Index(
    "orders_one_of_a_key",
    orders.c.user_id,
    orders.c.idempotency_key,
    unique=True,
    postgresql_where=orders.c.idempotency_key.is_not(None),
)
Index("orders_of_user", orders.c.user_id, orders.c.id.desc())
Index("orders_new", orders.c.remind_at, postgresql_where=orders.c.status == "NEW")

outbox.table(metadata)
retention.table(metadata)
