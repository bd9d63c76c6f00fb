import msgspec
import pytest

from loadtest.load.doubts import doubts
from loadtest.load.histogram import Figures
from loadtest.load.parameters import Parameters
from loadtest.load.report import EVERYTHING_ELSE, Generator, Process
from tests.loadtest.reports import report

SOON = Figures(count=1000, p50=1.0, p90=2.0, p99=5.0, p999=6.0, max=7.0)
LATE = msgspec.structs.replace(SOON, p99=30.0)

REPORT = report(
    parameters=Parameters(users=100, seconds=20.0),
    replicas={"notifier": 2},
    orders={"paid": 2000},
    accepted_a_second=100.0,
    sockets={"notifier-1": 60, "notifier-2": 60},
    generator=Generator([0.3, 0.6], SOON, SOON),
    processes=[Process("orders-1", 0.4, 200.0), Process(EVERYTHING_ELSE, 0.1, 50.0)],
)


def test_a_load_that_went_as_it_should_leaves_no_doubt() -> None:
    assert doubts(REPORT) == []


@pytest.mark.parametrize(
    ("changed", "doubt"),
    [
        ({"generator": Generator([0.3, 0.8], SOON, SOON)}, "took 80% of a core"),
        ({"generator": Generator([0.3], LATE, SOON)}, "loop was 30 ms late"),
        ({"generator": Generator([0.3], SOON, LATE)}, "sent 30 ms late"),
        ({"processes": [Process(EVERYTHING_ELSE, 0.3, 150.0)]}, "took 15% of the machine"),
        ({"sockets": {"notifier-2": 120}}, "only notifier-2 had a socket"),
        ({"clocks_off_ms": 6.0}, "off by 6 ms"),
        ({"accepted_a_second": 80.0}, "fell behind: orders of 20 s were accepted in 25 s"),
    ],
)
def test_what_makes_figures_doubtful_is_named(changed: dict[str, object], doubt: str) -> None:
    [found] = doubts(msgspec.structs.replace(REPORT, **changed))
    assert doubt in found


def test_what_else_a_machine_does_is_not_known_of_a_shop_elsewhere() -> None:
    """With URL= the shop is itself among everything else."""
    busy = msgspec.structs.replace(REPORT, replicas={}, processes=[Process(EVERYTHING_ELSE, 1.5, 750.0)])
    assert doubts(busy) == []
