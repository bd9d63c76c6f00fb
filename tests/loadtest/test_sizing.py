"""The capacity model: docs/scaling.md shows its tables, and its results follow from the measured costs."""

import re
import sys
from pathlib import Path

import msgspec
import pytest

from loadtest.load import costs
from loadtest.load.costs import Costs
from loadtest.load.parameters import Parameters
from loadtest.load.report import GENERATOR, Process, Report, write
from loadtest.sizing import document, model
from loadtest.sizing.__main__ import main as sizing
from loadtest.sizing.model import CELL, Limit, Size
from tests.loadtest.reports import report
from tests.support import ROOT

MEASURED = costs.read(ROOT / "docs/measured/costs.json")
POINTS = [(orders, sockets) for orders in (100, 1_000, 10_000, 100_000) for sockets in (0, 10_000, 1_000_000)]


def sized(orders: int, sockets: int, measured: Costs = MEASURED) -> Size:
    return model.size(orders, sockets, measured.orders[0], measured)


def in_a_cell(measured: Costs) -> list[Limit]:
    return [limit for limit in model.limits(measured.orders[0], measured) if limit.remedy == CELL]


def test_the_document_and_its_plot_are_up_to_date() -> None:
    shown = (ROOT / document.DOCUMENT).read_text()
    assert [table for table in document.tables(MEASURED) if table not in shown] == []
    assert document.plot(MEASURED) == (ROOT / document.PLOT).read_text()


def test_an_outdated_table_is_replaced() -> None:
    shown = (ROOT / document.DOCUMENT).read_text()
    outdated = re.sub(r"^\| 10,000 \|.*\n", "", shown, flags=re.MULTILINE)
    assert outdated != shown
    assert document.with_new_tables(outdated, MEASURED) == shown


@pytest.mark.parametrize("point", POINTS)
def test_a_larger_load_never_needs_less(point: tuple[int, int]) -> None:
    orders, sockets = point
    before = sized(orders, sockets)
    for more in (sized(2 * orders, sockets), sized(orders, 2 * sockets + 1)):
        assert all(now >= then for then, now in zip(before, more, strict=True))


def test_a_second_cell_is_needed_above_the_lowest_limit_of_a_cell() -> None:
    lowest = in_a_cell(MEASURED)[0].most
    assert sized(int(lowest), 0).cells == 1
    assert sized(int(lowest) + 1, 0).cells == 2


def test_a_standby_with_half_the_replay_speed_has_half_the_limit() -> None:
    slower = msgspec.structs.replace(MEASURED, replayed_bytes=MEASURED.replayed_bytes / 2)
    before, after = (
        next(limit.most for limit in in_a_cell(measured) if "WAL" in limit.part) for measured in (MEASURED, slower)
    )
    assert after == pytest.approx(before / 2)


def test_the_cost_of_an_order_matches_the_measurements_and_falls_with_larger_batches() -> None:
    small, large = MEASURED.orders[0], MEASURED.orders[-1]
    assert model.us_per_order(small.in_flight, MEASURED) == pytest.approx(small.us_an_order)
    assert model.us_per_order(large.in_flight, MEASURED) == pytest.approx(large.us_an_order)
    falling_costs = [model.us_per_order(2**power, MEASURED) for power in range(4, 16)]
    assert falling_costs == sorted(falling_costs, reverse=True)
    assert falling_costs[-1] > 0


def loaded(told_a_second: float) -> Report:
    """Returns the report of a load as fast as possible, on two cores of which the generator took half of one."""
    return report(
        parameters=Parameters(in_flight=16),
        replicas=MEASURED.replicas,
        accepted_a_second=told_a_second,
        told_a_second=told_a_second,
        processes=[Process(GENERATOR, 0.5, 0.0), Process("orders-1", 1.5, 0.0)],
    )


EXPECTED = 1.5e6 / model.us_per_order(16, MEASURED)


@pytest.mark.parametrize(("ratio", "holds"), [(1.0, True), (1.5, True), (0.7, True), (1.7, False), (0.5, False)])
def test_a_load_within_the_tolerance_of_the_model_gives_exit_status_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: float, holds: bool
) -> None:
    compared = model.check(loaded(EXPECTED * ratio), MEASURED)
    assert compared.ratio == pytest.approx(ratio)
    assert compared.holds is holds

    write(loaded(EXPECTED * ratio), tmp_path / "report.json")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["sizing", "--check", str(tmp_path / "report.json")])
    with pytest.raises(SystemExit) as ended:
        sizing()
    assert ended.value.code == (0 if holds else 1)


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("nginx.conf", f"worker_connections {model.NGINX_CONNECTIONS};"),
        ("notifier/fan_out.lua", f"= {model.MARKED_SECONDS}, 86400, {model.KEPT_MESSAGES}\n"),
        ("deploy/local/postgresql.conf", f"max_connections = {model.CONNECTIONS + 3}\n"),
    ],
)
def test_a_limit_of_the_model_equals_the_configured_one(file: str, setting: str) -> None:
    assert setting in (ROOT / file).read_text()
