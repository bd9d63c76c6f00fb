"""The suite is tested itself: `python -m loadtest.faults.mutations` fails when a mistake goes unnoticed.

The unchanged sources come first, under all the faults that the mistakes are to be found by, and must be green.
"""

import argparse
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path

from loadtest.faults import ending
from loadtest.faults.contents import ROOT
from loadtest.faults.faults import FAULTS
from loadtest.faults.mutants import MUTANTS, Edit, Mutant
from loadtest.faults.programs import ended
from loadtest.faults.shop import ShopUnderFaults, a_shop
from loadtest.faults.trial import Outcome, Trial

SOURCES = ("gateway", "orders", "payments", "notifier", "gozon", "shopkit", "loadtest")
# Short of the minute after which the reconciler heals what some of the mistakes lose.
HEALED_IN = 45.0
UNCHANGED = "as it is"


def mutated(edits: Sequence[Edit], tree: Path) -> Path:
    """A copy of the sources in `tree`, with `edits` made."""
    for package in SOURCES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in edits:
        file = tree / edit.file
        text = file.read_text()
        if text.count(edit.old) != 1:
            raise SystemExit(f"{edit.file} holds {text.count(edit.old)} times: {edit.old}")
        file.write_text(text.replace(edit.old, edit.new))
    return tree


async def tried(shop: ShopUnderFaults, tree: Path, faults: Sequence[str]) -> Outcome:
    """From an empty shop, with the sources in `tree`."""
    await shop.start_afresh(tree)
    outcome = await Trial(shop, seed=1, limit=HEALED_IN, brief=True).run([FAULTS[name] for name in faults])
    if outcome.error:
        raise SystemExit(outcome.error)
    return outcome


async def noticed(shop: ShopUnderFaults, tree: Path, mutant: Mutant) -> Sequence[str]:
    if mutant.faults:
        return (await tried(shop, tree, mutant.faults)).names
    return await failing(shop, tree, mutant.turns_red)


async def failing(shop: ShopUnderFaults, tree: Path, tests: Sequence[str]) -> list[str]:
    """Those of `tests` that fail with the sources in `tree`, on the servers of the shop."""
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return [test for test in tests if await _fails(shop, tree, test)]


async def _fails(shop: ShopUnderFaults, tree: Path, test: str) -> bool:
    """pytest ends with 1 when a test fails, and with more when it could not run it."""
    environment = os.environ | {"GOZON_SHOP": str(shop.directory / "shop.json")}
    ran = await ended(sys.executable, "-m", "pytest", "-q", test, stdout=PIPE, cwd=tree, env=environment)
    if ran.status > 1:
        raise SystemExit(f"pytest ended with {ran.status}\n{ran.said}")
    return ran.status == 1


def chosen(words: Sequence[str] | None) -> list[Mutant]:
    """Those whose name contains one of them, or all."""
    return [mutant for mutant in MUTANTS if any(of in mutant.name for of in words or [""])]


async def run(options: argparse.Namespace) -> list[tuple[str, str, bool]]:
    """Each mistake, what it turned red, and whether that is as it should be."""
    mutants = chosen(options.only)
    rows: list[tuple[str, str, bool]] = []
    with tempfile.TemporaryDirectory(prefix="gozon-mutants-") as folder:
        async with a_shop(options.dir, options.base_port, options.entrance) as shop:
            faults = list(dict.fromkeys(fault for mutant in mutants for fault in mutant.faults))
            for number, mutant in enumerate([Mutant(UNCHANGED, (), tuple(faults), ()), *mutants]):
                print(f"\n{mutant.name}", flush=True)
                tree = mutated(mutant.edits, Path(folder) / str(number))
                red = await noticed(shop, tree, mutant)
                print(f"red: {', '.join(red) or 'nothing'}", flush=True)
                rows.append((mutant.name, ", ".join(red), _as_it_should_be(mutant, red)))
    return rows


def _as_it_should_be(mutant: Mutant, red: Sequence[str]) -> bool:
    return bool(set(red) & set(mutant.turns_red)) if mutant.turns_red else not red


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtest.faults.mutations", description=__doc__)
    parser.add_argument("--only", action="append", help="those whose name contains this; can be repeated")
    parser.add_argument("--dir", type=Path, default=ROOT / ".run" / "faults" / "mutants")
    parser.add_argument("--base-port", type=int, default=26000)
    parser.add_argument("--entrance", type=int, default=8094)
    options = parser.parse_args()
    if not chosen(options.only):
        parser.error(f"no mistake is called {' or '.join(options.only)}")
    rows = ending.run(run(options))
    for name, red, good in rows:
        print(
            f"{name:<62} {red or 'all green'}{'' if good else '   UNNOTICED' if name != UNCHANGED else '   WRONG'}"
        )
    sys.exit(not all(good for _, _, good in rows))


if __name__ == "__main__":
    main()
