"""Checks that mutations and points match the sources, so that a rename cannot silently disable one."""

from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

from loadtest.faults.faults import FAULTS
from loadtest.faults.mutants import MUTANTS, Mutant
from loadtest.faults.mutations import mutated
from loadtest.faults.points import POINTS, Point
from loadtest.faults.stores import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutation_applies_to_the_sources(mutant: Mutant, tmp_path: Path) -> None:
    tree = mutated(mutant.edits, tmp_path)
    assert any((tree / edit.file).read_text() != (ROOT / edit.file).read_text() for edit in mutant.edits)
    assert set(mutant.faults) <= set(FAULTS)
    if not mutant.faults:
        for test in mutant.caught_by:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_each_point_names_a_function(point: Point) -> None:
    module, _, name = point.where.partition(":")
    assert callable(attrgetter(name)(import_module(module)))
