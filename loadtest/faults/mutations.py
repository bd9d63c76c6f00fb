"""Tests the fault suite: changes the sources in many wrong ways and fails if the suite misses a change.

The unchanged sources run first, under the faults of all mutations, and must pass.
"""

import argparse
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path

from loadtest.faults import cancellation
from loadtest.faults.faults import FAULTS
from loadtest.faults.mutants import MUTANTS, Edit, Mutant
from loadtest.faults.programs import run_program
from loadtest.faults.shop import ShopUnderFaults, running_shop
from loadtest.faults.stores import ROOT
from loadtest.faults.trial import Outcome, Trial

SOURCES = ("gateway", "orders", "payments", "notifier", "gozon", "shopkit", "loadtest")
# Shorter than the minute after which the reconciler repairs the losses of some mutations.
HEALING_SECONDS = 45.0
UNCHANGED = "unchanged sources"


def mutated(edits: Sequence[Edit], tree: Path) -> Path:
    """Copies the sources to `tree` and makes the edits there. Returns `tree`."""
    for package in SOURCES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in edits:
        file = tree / edit.file
        text = file.read_text()
        if text.count(edit.old) != 1:
            raise SystemExit(
                f"{edit.file} contains this text {text.count(edit.old)} times instead of once: {edit.old}"
            )
        file.write_text(text.replace(edit.old, edit.new))
    return tree


async def run_trial(shop: ShopUnderFaults, tree: Path, faults: Sequence[str]) -> Outcome:
    """Runs a brief trial on an empty shop with the sources in `tree`."""
    await shop.restart_empty(tree)
    outcome = await Trial(shop, seed=1, limit=HEALING_SECONDS, brief=True).run([FAULTS[name] for name in faults])
    if outcome.error:
        raise SystemExit(outcome.error)
    return outcome


async def failures(shop: ShopUnderFaults, tree: Path, mutant: Mutant) -> Sequence[str]:
    """Returns the broken invariants, or the failing tests of a mutation without faults."""
    if mutant.faults:
        return (await run_trial(shop, tree, mutant.faults)).names
    return await failing_tests(shop, tree, mutant.caught_by)


async def failing_tests(shop: ShopUnderFaults, tree: Path, tests: Sequence[str]) -> list[str]:
    """Returns the tests that fail with the sources in `tree`, on the servers of the shop."""
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return [test for test in tests if await _fails(shop, tree, test)]


async def _fails(shop: ShopUnderFaults, tree: Path, test: str) -> bool:
    """Returns whether the test fails: pytest exits with 1. Higher statuses mean that it could not run the test."""
    environment = os.environ | {"GOZON_SHOP": str(shop.directory / "shop.json")}
    result = await run_program(sys.executable, "-m", "pytest", "-q", test, stdout=PIPE, cwd=tree, env=environment)
    if result.status > 1:
        raise SystemExit(f"pytest exited with {result.status}\n{result.output}")
    return result.status == 1


def selected(words: Sequence[str] | None) -> list[Mutant]:
    """Returns the mutations whose name contains one of the words, or all mutations without words."""
    return [mutant for mutant in MUTANTS if any(word in mutant.name for word in words or [""])]


async def run(options: argparse.Namespace) -> list[tuple[str, str, bool]]:
    """Returns a row for each mutation: its name, its failures, and whether they are as expected."""
    mutants = selected(options.only)
    rows: list[tuple[str, str, bool]] = []
    with tempfile.TemporaryDirectory(prefix="gozon-mutants-") as folder:
        async with running_shop(options.dir, options.base_port, options.entrance) as shop:
            faults = list(dict.fromkeys(fault for mutant in mutants for fault in mutant.faults))
            for number, mutant in enumerate([Mutant(UNCHANGED, (), tuple(faults), ()), *mutants]):
                print(f"\n{mutant.name}", flush=True)
                tree = mutated(mutant.edits, Path(folder) / str(number))
                failed = await failures(shop, tree, mutant)
                print(f"failed: {', '.join(failed) or 'nothing'}", flush=True)
                rows.append((mutant.name, ", ".join(failed), _as_expected(mutant, failed)))
    return rows


def _as_expected(mutant: Mutant, failed: Sequence[str]) -> bool:
    return bool(set(failed) & set(mutant.caught_by)) if mutant.caught_by else not failed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtest.faults.mutations", description=__doc__)
    parser.add_argument("--only", action="append", help="run the mutations whose name contains this; repeatable")
    parser.add_argument(
        "--dir", type=Path, default=ROOT / ".run" / "faults" / "mutants", help="data folder of the shop"
    )
    parser.add_argument("--base-port", type=int, default=26000, help="first port of the servers")
    parser.add_argument("--entrance", type=int, default=8094, help="port of nginx")
    options = parser.parse_args()
    if not selected(options.only):
        parser.error(f"no mutation is called {' or '.join(options.only)}")
    rows = cancellation.run_until_signal(run(options))
    for name, failed, expected in rows:
        note = "" if expected else "   WRONG" if name == UNCHANGED else "   UNNOTICED"
        print(f"{name:<72} {failed or 'no failure'}{note}")
    sys.exit(not all(expected for _, _, expected in rows))


if __name__ == "__main__":
    main()
