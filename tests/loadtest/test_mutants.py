"""A renamed function must not silently switch off a mutation or a point of the fault suite. Needs no server."""

from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

from loadtest.faults.contents import ROOT
from loadtest.faults.faults import FAULTS
from loadtest.faults.mutants import MUTANTS, Mutant
from loadtest.faults.mutations import mutated
from loadtest.faults.points import POINTS, Point


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutation_still_applies(mutant: Mutant, tmp_path: Path) -> None:
    tree = mutated(mutant.edits, tmp_path)
    assert any((tree / edit.file).read_text() != (ROOT / edit.file).read_text() for edit in mutant.edits)
    assert set(mutant.faults) <= set(FAULTS)
    if not mutant.faults:
        for test in mutant.turns_red:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_each_point_names_a_function(point: Point) -> None:
    module, _, name = point.where.partition(":")
    assert callable(attrgetter(name)(import_module(module)))
