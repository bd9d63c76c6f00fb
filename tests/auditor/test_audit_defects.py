"""Each invariant is violated on purpose. The auditor must report it with the row, and report no other invariant."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection

from auditor.audit import examine_all
from auditor.invariants import Limits
from auditor.report import as_json
from auditor.snapshot import AuditSnapshot
from shopkit.db.connect import engine_at
from shopkit.db.database import Database
from tests.auditor.conftest import Books
from tests.auditor.defects_of_balances import SUMS, VERSIONS
from tests.auditor.defects_of_decisions import DECLINED_WITHOUT_GROUND, OUTCOMES, PAID_WITHOUT_GROUND
from tests.auditor.defects_of_entries import DEBITS, KINDS
from tests.auditor.defects_of_orders import RECONCILIATION, STATUSES
from tests.auditor.defects_of_progress import NO_DEFECTS, STUCK
from tests.auditor.planting import Statements

DEFECTS = (
    DEBITS
    | KINDS
    | SUMS
    | VERSIONS
    | OUTCOMES
    | PAID_WITHOUT_GROUND
    | DECLINED_WITHOUT_GROUND
    | STATUSES
    | RECONCILIATION
    | STUCK
)


def connection_to(database: Database) -> AsyncConnection:
    return engine_at(database.url, poolclass=NullPool).connect()


@asynccontextmanager
async def planted(books: Books, statements: Statements) -> AsyncGenerator[list[AuditSnapshot]]:
    """Executes `statements` in both databases, yields them, and rolls back."""
    async with connection_to(books.orders) as orders, connection_to(books.payments) as payments:
        for database, statement in statements:
            await (orders if database == "orders" else payments).execute(text(statement))
        yield [AuditSnapshot("orders", orders), AuditSnapshot("payments", payments)]


async def report_of(books: Books, statements: Statements) -> dict[str, Any]:
    """Executes `statements` and audits both databases. Returns the findings by invariant."""
    async with planted(books, statements) as (orders, payments):
        report = json.loads(as_json(await examine_all(orders, payments, Limits())))
    return {found["name"]: found for found in report["invariants"]}


def includes(row: dict[str, Any], part: dict[str, Any]) -> bool:
    """Returns whether `row` has the values of `part`. For an order and a payment, `part` can be incomplete, too."""
    return all(
        row[name] == value
        or (name in ("order", "payment") and None not in (row[name], value) and includes(row[name], value))
        for name, value in part.items()
    )


@pytest.mark.parametrize(
    ("statements", "broken"), [pytest.param(*defect, id=name) for name, defect in DEFECTS.items()]
)
async def test_each_defect_is_reported_with_its_row_and_nothing_else(
    healthy: Books, statements: Statements, broken: dict[str, dict[str, Any]]
) -> None:
    invariants = await report_of(healthy, statements)
    found = {name: invariant["rows"] for name, invariant in invariants.items() if invariant["offenders"]}
    assert found.keys() == broken.keys()
    for name, row in broken.items():
        assert any(includes(shown, row) for shown in found[name]), found[name]


async def test_every_invariant_has_a_defect_that_violates_it(healthy: Books) -> None:
    violated = {name for _, broken in DEFECTS.values() for name in broken}
    assert violated == (await report_of(healthy, [])).keys()


async def test_a_healthy_shop_is_examined_without_a_finding(healthy: Books) -> None:
    invariants = await report_of(healthy, [])
    assert [found["name"] for found in invariants.values() if found["offenders"] or found["rows"]] == []
    assert {name: found["looked_at"] for name, found in invariants.items() if found["looked_at"]} == {
        "one-payment-per-order": 5,
        "debit-of-payment": 5,
        "entry-of-its-kind": 9,
        "entry-of-an-account": 5,
        "balance-is-the-sum": 6,
        "versions-without-gaps": 6,
        "running-balance": 9,
        "no-negative-balance": 15,
        "known-outcome": 5,
        "paid-from-balance": 2,
        "declined-for-lack-of-funds": 2,
        "declined-without-account": 1,
        "status-and-version": 5,
        "status-is-outcome": 5,
        "same-user-and-amount": 5,
        "payment-of-an-order": 5,
        "result-applied": 5,
    }


@pytest.mark.parametrize("statements", NO_DEFECTS.values(), ids=NO_DEFECTS)
async def test_work_in_flight_or_completed_is_not_reported(healthy: Books, statements: Statements) -> None:
    invariants = await report_of(healthy, statements)
    assert [found["name"] for found in invariants.values() if found["offenders"]] == []
