"""Invariants, the findings about them, and the examination of an invariant that is a query."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Boolean, RowMapping, column, func, select, text

from auditor.snapshot import AuditSnapshot

EXAMPLES_LIMIT = 20
GRACE = 60.0

HOLDS = column("holds", Boolean)


class Limits(msgspec.Struct, frozen=True):
    """Work may be in flight for `grace` seconds. A finding has at most `rows` offenders."""

    grace: float = GRACE
    rows: int = EXAMPLES_LIMIT


class Invariant(msgspec.Struct, frozen=True):
    name: str
    database: Literal["orders", "payments", "both"]
    statement: str


class QueryInvariant(Invariant, frozen=True):
    """An invariant of one database. `query` returns all rows to examine, each with a boolean `holds`.

    NULL in `holds` counts as false.
    """

    query: str


class Finding(msgspec.Struct, frozen=True):
    """The result of examining an invariant: how many rows were examined and how many of them violate it.

    `rows` has the first offenders, at most `Limits.rows`.
    """

    invariant: Invariant
    looked_at: int
    offenders: int
    rows: Sequence[dict[str, Any]]


async def examine(snapshot: AuditSnapshot, invariant: QueryInvariant, limits: Limits) -> Finding:
    """Counts the rows, and runs the query a second time for the offenders only if there are any."""
    values = {"grace": limits.grace}
    looked_at = text(invariant.query).columns(HOLDS).subquery("looked_at")
    broken = looked_at.c.holds.is_not(True)
    counts = select(func.count().label("all"), func.count().filter(broken).label("broken"))
    (counted,) = await snapshot.rows(counts.select_from(looked_at), values)
    if not counted["broken"]:
        return Finding(invariant, counted["all"], 0, [])
    first = select(text("*")).select_from(looked_at).where(broken).order_by(text("1")).limit(limits.rows)
    offending = await snapshot.rows(first, values)
    return Finding(invariant, counted["all"], counted["broken"], [_without_holds(row) for row in offending])


def _without_holds(row: RowMapping) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "holds"}
