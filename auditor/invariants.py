"""An invariant, and how one that a query can decide is examined."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Boolean, RowMapping, column, func, select, text

from auditor.snapshot import AuditSnapshot

EXAMPLES_LIMIT = 20
GRACE = 60.0

HOLDS = column("holds", Boolean)


class Limits(msgspec.Struct, frozen=True):
    """Work may be in flight for `grace` seconds; at most `rows` offenders of an invariant are shown."""

    grace: float = GRACE
    rows: int = EXAMPLES_LIMIT


class Invariant(msgspec.Struct, frozen=True):
    name: str
    database: Literal["orders", "payments", "both"]
    statement: str


class Queried(Invariant, frozen=True):
    """`query` yields everything to look at, each row with a boolean `holds`; NULL counts as false."""

    query: str


class Finding(msgspec.Struct, frozen=True):
    """`rows` are the first of the `offenders`."""

    invariant: Invariant
    looked_at: int
    offenders: int
    rows: Sequence[dict[str, Any]]


async def examine(snapshot: AuditSnapshot, invariant: Queried, limits: Limits) -> Finding:
    """One pass counts; the offenders are fetched in a second one, which a healthy database does not need."""
    values = {"grace": limits.grace}
    looked_at = text(invariant.query).columns(HOLDS).subquery("looked_at")
    broken = looked_at.c.holds.is_not(True)
    counts = select(func.count().label("all"), func.count().filter(broken).label("broken"))
    (counted,) = await snapshot.rows(counts.select_from(looked_at), values)
    if not counted["broken"]:
        return Finding(invariant, counted["all"], 0, [])
    first = select(text("*")).select_from(looked_at).where(broken).order_by(text("1")).limit(limits.rows)
    offending = await snapshot.rows(first, values)
    return Finding(invariant, counted["all"], counted["broken"], [_shown(row) for row in offending])


def _shown(row: RowMapping) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "holds"}
