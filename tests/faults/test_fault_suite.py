"""The fault suite in short, on a shop of its own; `make faults` is the long one."""

from pathlib import Path

import pytest

from loadtest.faults.contents import ROOT
from loadtest.faults.faults import FAULTS
from loadtest.faults.mutants import MUTANTS, Mutant
from loadtest.faults.mutations import mutated
from loadtest.faults.report import page, words
from loadtest.faults.shop import a_shop
from loadtest.faults.trial import Trial

SEED = 4
SHORT = (
    "copy everything",
    "kill before-order-commit",
    "kill before-confirm",
    "kill before-charge-commit",
    "kill before-redis-publish",
    "lose commits of orders",
    "unbind notifier.order-status",
)


@pytest.fixture(autouse=True)
def whole_again() -> None:
    """The shop of the other tests is left alone."""


@pytest.mark.timeout(600)
async def test_a_short_bad_day_breaks_no_promise() -> None:
    # Under the repository: PostgreSQL must not run below pytest's closed folder.
    async with a_shop(ROOT / ".run" / "faults" / "test", base_port=29000, entrance=8095) as shop:
        outcome = await Trial(shop, SEED).run([FAULTS[name] for name in SHORT])
    assert outcome.names == [], words(outcome)
    assert outcome.orders > 100
    assert "unknown" in outcome.requests, "no request was ever in danger"
    assert page(outcome).count("<td class=ok>ok") == len(SHORT)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_every_mistake_can_still_be_made(mutant: Mutant, tmp_path: Path) -> None:
    tree = mutated(mutant.edits, tmp_path)
    assert any((tree / edit.file).read_text() != (ROOT / edit.file).read_text() for edit in mutant.edits)
    assert set(mutant.faults) <= set(FAULTS)
