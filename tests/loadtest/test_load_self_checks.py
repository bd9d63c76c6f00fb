import msgspec
import pytest

from loadtest.load.histogram import Figures
from loadtest.load.parameters import Parameters
from loadtest.load.report import EVERYTHING_ELSE, Generator, Process
from loadtest.load.self_checks import failed_self_checks
from tests.loadtest.reports import report

IN_TIME = Figures(count=1000, p50=1.0, p90=2.0, p99=5.0, p999=6.0, max=7.0)
LATE = msgspec.structs.replace(IN_TIME, p99=30.0)

REPORT = report(
    parameters=Parameters(users=100, seconds=20.0),
    replicas={"notifier": 2},
    orders={"paid": 2000},
    accepted_a_second=100.0,
    sockets={"notifier-1": 60, "notifier-2": 60},
    generator=Generator([0.3, 0.6], IN_TIME, IN_TIME),
    processes=[Process("orders-1", 0.4, 200.0), Process(EVERYTHING_ELSE, 0.1, 50.0)],
)


def test_an_undisturbed_load_passes_every_self_check() -> None:
    assert failed_self_checks(REPORT) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"generator": Generator([0.3, 0.8], IN_TIME, IN_TIME)}, "took 80% of a core"),
        ({"generator": Generator([0.3], LATE, IN_TIME)}, "event loop was 30 ms late"),
        ({"generator": Generator([0.3], IN_TIME, LATE)}, "sent 30 ms late"),
        ({"processes": [Process(EVERYTHING_ELSE, 0.3, 150.0)]}, "took 15% of the machine"),
        ({"sockets": {"notifier-2": 120}}, "only notifier-2 had a socket"),
        ({"clocks_off_ms": 6.0}, "off by 6 ms"),
        ({"accepted_a_second": 80.0}, "fell behind: orders of 20 s were accepted in 25 s"),
    ],
)
def test_a_reason_to_distrust_the_figures_is_named(changed: dict[str, object], reason: str) -> None:
    [found] = failed_self_checks(msgspec.structs.replace(REPORT, **changed))
    assert reason in found


def test_other_programs_are_ignored_for_a_shop_given_by_its_url() -> None:
    """With URL=, the figure of other programs can include the shop."""
    busy = msgspec.structs.replace(REPORT, replicas={}, processes=[Process(EVERYTHING_ELSE, 1.5, 750.0)])
    assert failed_self_checks(busy) == []
