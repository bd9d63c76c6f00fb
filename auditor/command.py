"""Checks the invariants of money and progress. Exit status: 0 all hold, 1 violated, 2 a database cannot be read."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from auditor.audit import audit
from auditor.invariants import EXAMPLES_LIMIT, GRACE, Limits
from auditor.report import all_hold, as_json, as_text
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
    return 0 if all_hold(findings) else 1


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m auditor", description=__doc__)
    for database in ("orders", "payments"):
        variable = f"{database.upper()}_DATABASE_URL"
        address = os.environ.get(variable)
        form = f"postgresql://user:password@host:port/name (default: the environment variable {variable})"
        parser.add_argument(f"--{database}", metavar="URL", default=address, required=not address, help=form)
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        type=_seconds,
        default=GRACE,
        help="do not report work that has been in flight for less than this (default: 60)",
    )
    parser.add_argument(
        "--rows",
        metavar="N",
        type=_count,
        default=EXAMPLES_LIMIT,
        help="show at most N offending rows per invariant (default: 20)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args(words)


def _seconds(word: str) -> float:
    seconds = float(word)
    # The queries subtract the grace from the current time, and the result must not be before the year 1.
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
