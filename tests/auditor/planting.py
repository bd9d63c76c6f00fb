"""Helpers to write defects: statements that violate an invariant, and the rows that the auditor must report."""

from typing import Any, TypeAlias

from tests.auditor.conftest import IDS

PAID, DECLINED, WITHOUT_ACCOUNT, WITHOUT_MONEY, PAID_EXACTLY = map(str, IDS)

Statements: TypeAlias = list[tuple[str, str]]
Defects: TypeAlias = dict[str, tuple[Statements, dict[str, dict[str, Any]]]]
"""By name: the statements to execute, and for each violated invariant some columns of an offending row."""

DECIDED_AN_HOUR_AGO = "UPDATE payments SET decided_at = now() - interval '1 hour'"


def orders(*statements: str) -> Statements:
    return [("orders", statement) for statement in statements]


def payments(*statements: str) -> Statements:
    return [("payments", statement) for statement in statements]


def without(table: str, constraint: str) -> str:
    return f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"


def of(table: str, user_id: str, change: str) -> str:
    return f"UPDATE {table} SET {change} WHERE user_id = '{user_id}'"


def account(user_id: str, balance: int, version: int) -> str:
    return of("accounts", user_id, f"balance = {balance}, version = {version}")


def entry(user_id: str, kind: str, amount: int, version: int, balance_after: int, order_id: str = "NULL") -> str:
    return f"""
        INSERT INTO ledger_entries (id, user_id, kind, amount, account_version, balance_after, order_id)
        VALUES ('ffffffff-ffff-7fff-bfff-ffffffffffff', '{user_id}', '{kind}', {amount}, {version},
                {balance_after}, {order_id})
    """


def order(status: str, version: int, reason: str = "NULL", age: str = "0 seconds") -> str:
    return f"""
        INSERT INTO orders (id, user_id, amount, description, status, version, reason, created_at)
        VALUES (gen_random_uuid(), 'zoe', 1, 'a lamp', '{status}', {version}, {reason}, now() - interval '{age}')
    """


def pair(order_id: str, **fields: Any) -> dict[str, Any]:
    """Returns an order and its payment. A field with the prefix `order_` belongs to the order."""
    order = {name.removeprefix("order_"): value for name, value in fields.items() if name.startswith("order_")}
    payment = {name: value for name, value in fields.items() if not name.startswith("order_")}
    return {"order": {"id": order_id} | order, "payment": {"order_id": order_id} | payment}
