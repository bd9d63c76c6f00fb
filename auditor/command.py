"""The command: exit status 0 when every invariant holds, 1 when one does not, 2 when a database cannot be read."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from auditor.audit import audit
from auditor.invariants import EXAMPLES_LIMIT, GRACE, Limits
from auditor.report import as_json, as_text, clean
from auditor.snapshot import Unreadable


async def run(words: Sequence[str]) -> int:
    """Returns the exit status."""
    options = parse(words)
    try:
        findings = await audit(options.orders, options.payments, Limits(options.grace, options.rows))
    except Unreadable as error:
        print(error, file=sys.stderr)
        return 2
    print(as_json(findings) if options.json else as_text(findings))
    return 0 if clean(findings) else 1


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m auditor", description=__doc__)
    for database in ("orders", "payments"):
        variable = f"{database.upper()}_DATABASE_URL"
        address = os.environ.get(variable)
        says = f"postgresql://user:password@host:port/name; {variable} by default"
        parser.add_argument(f"--{database}", metavar="URL", default=address, required=not address, help=says)
    parser.add_argument(
        "--grace", metavar="SECONDS", type=_seconds, default=GRACE, help="how long work may be in flight (60)"
    )
    parser.add_argument(
        "--rows", metavar="N", type=_count, default=EXAMPLES_LIMIT, help="offenders to show of each (20)"
    )
    parser.add_argument("--json", action="store_true", help="for tools")
    return parser.parse_args(words)


def _seconds(word: str) -> float:
    seconds = float(word)
    # Longer ago than the year 1 PostgreSQL cannot say.
    if not 0 <= seconds <= 10**9:
        raise argparse.ArgumentTypeError("from 0 to 1000000000")
    return seconds


def _count(word: str) -> int:
    count = int(word)
    if count < 0:
        raise argparse.ArgumentTypeError("0 or more")
    return count


def main() -> None:
    sys.exit(asyncio.run(run(sys.argv[1:])))
