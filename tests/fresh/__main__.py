"""Follows the README on a fresh Debian, and prints the minutes and megabytes that each command needs.

    python -m tests.fresh bookworm trixie
    python -m tests.fresh --only "make up" trixie

On each machine: `make up`, the README's first order, `make status`, `make down`, `make test`. Logs go to
.run/fresh. Exits with 0 if every command succeeded on every machine, with 1 if one failed, and with 2 if this host
cannot run such machines.
"""

import argparse
import sys
from pathlib import Path
from typing import BinaryIO

from docs.tools.blocks import blocks
from tests.fresh.machine import Machine, Unavailable, require
from tests.support import ROOT

LOGS = ROOT / ".run" / "fresh"
ORDER = "the first order"
# The README says that its examples need curl.
CURL = "apt-get update -qq && apt-get install -qq -y --no-install-recommends curl >/dev/null 2>&1"
QUIET = 'curl() { command curl -sS "$@"; echo; }'
SECTION = "A first order by curl"
PAID = '"status":"FINISHED"', '"balance":60000'


def first_order() -> str:
    """Returns a script of the README's commands. It checks that the order of 400.00 was paid from 1000.00.

    It sleeps between the blocks, because an order takes a moment to be paid.
    """
    readme = ROOT / "README.md"
    lines = readme.read_text().splitlines()
    first = lines.index(f"## {SECTION}") + 1
    last = next(n for n, line in enumerate(lines) if n > first and line.startswith("#"))
    inside = [b.commands for b in blocks(readme) if first <= int(b.place.rpartition(":")[2]) <= last]
    checks = [f"grep -q '{words}' /tmp/order" for words in PAID]
    return "\n".join([CURL, QUIET, "{", "\nsleep 2\n".join(inside), "} >/tmp/order", "cat /tmp/order", *checks])


def commands() -> dict[str, str]:
    return {
        "make up": "make up",
        ORDER: first_order(),
        "make status": "make status",
        "make down": "make down",
        "make test": "make test",
    }


def follow_readme(suite: str, only: list[str]) -> bool:
    """Returns whether every command succeeded. Stops at the first failure."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{suite}.log"
    with Machine(suite) as machine, path.open("wb") as log:
        return all(_run(machine, log, path, suite, name) for name in only or commands())


def _run(machine: Machine, log: BinaryIO, path: Path, suite: str, name: str) -> bool:
    log.write(f"\n== {name}\n".encode())
    log.flush()
    step = machine.run(commands()[name], log)
    took = f"{step.seconds / 60:5.1f} min  {step.downloaded:6.0f} MB downloaded  {step.installed:6.0f} MB on disk"
    print(f"{suite:<10} {name:<16} {took}{'' if step.status == 0 else '  failed'}", flush=True)
    if step.status:
        print("\n".join(path.read_text(errors="replace").splitlines()[-40:]), file=sys.stderr)
    return step.status == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="+", help="bookworm (Debian 12) or trixie (Debian 13)")
    parser.add_argument(
        "--only", action="append", default=[], choices=commands(), help="run only this command; repeatable"
    )
    options = parser.parse_args()
    try:
        require()
        results = [follow_readme(suite, options.only) for suite in options.suite]
    except Unavailable as reason:
        print(f"fresh machines: {reason}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
