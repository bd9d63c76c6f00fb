import itertools
import random
import re
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from loadtest.client import PendingRequest, Pool
from loadtest.load.calls import PlaceOrder, PlannedCall, TopUpCall
from loadtest.load.command import load, main
from loadtest.load.footprint import footprint
from loadtest.load.journeys import Journeys
from loadtest.load.parameters import LoadError, Parameters, help_text, parse
from loadtest.load.responses import ResponseChecks
from loadtest.load.scale import scale
from loadtest.load.schedule import ORDERS, Kind, arrivals, kinds
from loadtest.load.soak import soak
from loadtest.load.target import LoadTarget
from loadtest.load.traffic import Traffic
from loadtest.load.users import User
from loadtest.load.worker_processes import split

PLAN = Parameters(rate=50.0, seconds=200.0, declined=0.2, top_ups=0.1, reads=0.6)


def plan(parameters: Parameters = PLAN, seed: int = 1) -> list[tuple[float, Kind]]:
    return list(arrivals(parameters, random.Random(seed)))  # noqa: S311


def test_arrivals_are_sorted_and_within_the_load() -> None:
    moments = [at for at, _ in plan()]
    assert moments == sorted(moments)
    assert 0 < moments[0] < 1
    assert PLAN.seconds - 1 < moments[-1] < PLAN.seconds


def test_the_numbers_of_each_kind_follow_the_parameters() -> None:
    counts = Counter(kind for _, kind in plan())
    planned = PLAN.rate * PLAN.seconds
    orders = sum(counts[kind] for kind in ORDERS)
    # Five times the standard deviation of a Poisson-distributed count.
    assert orders == pytest.approx(planned, abs=5 * planned**0.5)
    assert counts[Kind.PAID] / orders == pytest.approx(0.8, abs=0.03)
    assert counts[Kind.TOO_EXPENSIVE] / orders == pytest.approx(0.1, abs=0.02)
    assert counts[Kind.NO_ACCOUNT] / orders == pytest.approx(0.1, abs=0.02)
    assert counts[Kind.TOP_UP] / orders == pytest.approx(0.1, abs=0.02)
    assert counts[Kind.LIST_ORDERS] / orders == pytest.approx(0.2, abs=0.03)


def test_the_gaps_are_those_of_a_poisson_process() -> None:
    """In a Poisson process, the standard deviation of the gaps equals their mean."""
    gaps = [after - before for before, after in itertools.pairwise(at for at, _ in plan())]
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.1)


def test_the_same_seed_gives_the_same_plan() -> None:
    assert plan(seed=7) == plan(seed=7)
    assert plan(seed=7) != plan(seed=8)


class RecordingPool(Pool):
    """Keeps the calls. It accepts every `nth` order immediately, and answers no other call."""

    def __init__(self, nth: int) -> None:
        super().__init__("http://127.0.0.1:1", 1)
        self._nth = nth
        self.calls: list[PlannedCall] = []

    def send(self, call: PendingRequest) -> None:
        assert isinstance(call, PlannedCall)
        self.calls.append(call)
        if isinstance(call, PlaceOrder) and self._nth and len(self.calls) % self._nth == 0:
            call.on_response(201, b'{"id":"%d"}' % len(self.calls), time.perf_counter())


async def sent(nth: int, seed: str) -> list[tuple[float, Kind, str, int]]:
    """Returns due time, kind, user and amount of the calls, without reads of orders, which depend on responses."""
    target = LoadTarget("http://127.0.0.1:1", 1)
    target.pool = pool = RecordingPool(nth)
    users = [User(f"user-{n}", n > 9, target, Journeys()) for n in range(100)]
    start = time.perf_counter()
    parameters = Parameters(rate=5000.0, seconds=0.2, users=100)
    await Traffic(parameters, users, seed, ResponseChecks()).send_by_plan(start)
    return [
        (
            round(call.due - start, 9),
            call.kind,
            call.user.id,
            call.amount if isinstance(call, PlaceOrder | TopUpCall) else 0,
        )
        for call in pool.calls
        if call.kind not in (Kind.SHOW_ORDER, Kind.LIST_ORDERS)
    ]


async def test_the_same_seed_sends_the_same_calls_whatever_the_responses() -> None:
    planned = await sent(nth=0, seed="7")
    assert len(planned) > 500
    assert await sent(nth=2, seed="7") == planned
    assert await sent(nth=2, seed="8") != planned


def test_the_processes_divide_the_whole_load() -> None:
    whole = Parameters(users=11, rate=90.0, in_flight=4, processes=3)
    shares = split(whole)
    assert [share.users for share in shares] == [4, 4, 3]
    assert sum(share.in_flight for share in shares) == 4
    assert sum(share.rate for share in shares) == pytest.approx(90)


def test_every_order_is_payable_if_declined_is_0() -> None:
    endless = kinds(Parameters(declined=0.0, reads=0.0, top_ups=0.0), random.Random(1))  # noqa: S311
    assert set(itertools.islice(endless, 500)) == {Kind.PAID}


def test_words_are_parsed_to_parameters() -> None:
    assert parse(Parameters, ["RATE=12.5", "USERS=7", "URL=http://127.0.0.1:1"]).rate == 12.5


@pytest.mark.parametrize(
    ("word", "message"), [("RATES=3", "unknown: RATES"), ("USERS=none", "USERS"), ("RATE=-1", "RATE")]
)
def test_a_wrong_word_is_named(word: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        parse(Parameters, [word])


def test_an_unknown_parameter_is_answered_with_the_list_of_parameters() -> None:
    with pytest.raises(LoadError) as raised:
        parse(Parameters, ["RATES=3"])
    assert help_text(Parameters) in str(raised.value)


def keep_handler(number: int, handler: object) -> None:
    """Replaces `signal.signal`, because `main` would change the handling of SIGTERM for all later tests."""


@pytest.mark.parametrize("word", ["HELP=", "HELP=1", "--help", "-h"])
@pytest.mark.parametrize(
    ("tool", "usage"),
    [
        (load, "usage: make load "),
        (scale, "usage: make scale "),
        (soak, "usage: make soak "),
        (footprint, "usage: python -m loadtest.load.footprint "),
    ],
)
def test_help_lists_the_parameters_and_exits_with_status_0(
    tool: Callable[[Sequence[str]], bool],
    usage: str,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["tool", "RATE=3", word])
    monkeypatch.setattr(signal, "signal", keep_handler)
    with pytest.raises(SystemExit) as ended:
        main(tool)
    output = capsys.readouterr()
    assert ended.value.code == 0
    assert output.out.startswith(usage)
    assert re.search(r"^  RATE +orders per second.* \(default: ", output.out, re.MULTILINE)
    assert not output.err
