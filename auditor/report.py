"""Reports of findings, as text and as JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from auditor.invariants import Finding

# PostgreSQL returns sums as decimals. They are whole kopecks, so they are written as JSON numbers.
_encoder = msgspec.json.Encoder(decimal_format="number")


def as_json(findings: Sequence[Finding]) -> str:
    return _encoder.encode({"holds": all_hold(findings), "invariants": [_flat(f) for f in findings]}).decode()


def _flat(finding: Finding) -> dict[str, Any]:
    invariant = finding.invariant
    return {
        "name": invariant.name,
        "database": invariant.database,
        "statement": invariant.statement,
        "looked_at": finding.looked_at,
        "offenders": finding.offenders,
        "rows": finding.rows,
    }


def as_text(findings: Sequence[Finding]) -> str:
    return "\n".join(line for finding in findings for line in _lines(finding))


def _lines(finding: Finding) -> Iterator[str]:
    outcome = f"{finding.offenders} OFFENDERS" if finding.offenders else "ok"
    invariant = finding.invariant
    yield f"{invariant.database:<8}  {invariant.name:<26}  {finding.looked_at:>9}  {outcome}"
    if finding.offenders:
        yield f"    {invariant.statement}"
        yield from (f"    {_row(row)}" for row in finding.rows)
    if finding.offenders > len(finding.rows):
        yield f"    and {finding.offenders - len(finding.rows)} more"


def _row(row: Mapping[str, Any]) -> str:
    return "  ".join(f"{name}={_encoder.encode(value).decode()}" for name, value in row.items())


def all_hold(findings: Iterable[Finding]) -> bool:
    return not any(finding.offenders for finding in findings)
