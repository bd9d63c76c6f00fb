import itertools
import random
import statistics
import time
from collections import Counter

import pytest

from loadtest.client import PendingRequest, Pool
from loadtest.load.answers import Answers
from loadtest.load.calls import PlaceOrder, Planned, TopUpCall
from loadtest.load.crew import parts
from loadtest.load.entrance import Entrance
from loadtest.load.journeys import Journeys
from loadtest.load.parameters import Failed, Parameters, parse
from loadtest.load.schedule import ORDERS, Kind, arrivals, kinds
from loadtest.load.traffic import Traffic
from loadtest.load.users import User

PLAN = Parameters(rate=50.0, seconds=200.0, declined=0.2, top_ups=0.1, reads=0.6)


def plan(parameters: Parameters = PLAN, seed: int = 1) -> list[tuple[float, Kind]]:
    return list(arrivals(parameters, random.Random(seed)))  # noqa: S311


def test_arrivals_come_in_order_within_the_load() -> None:
    moments = [at for at, _ in plan()]
    assert moments == sorted(moments)
    assert 0 < moments[0] < 1
    assert PLAN.seconds - 1 < moments[-1] < PLAN.seconds


def test_orders_arrive_at_the_rate_and_all_else_beside_them() -> None:
    counts = Counter(kind for _, kind in plan())
    planned = PLAN.rate * PLAN.seconds
    orders = sum(counts[kind] for kind in ORDERS)
    # Five times the standard deviation of such a count.
    assert orders == pytest.approx(planned, abs=5 * planned**0.5)
    assert counts[Kind.PAID] / orders == pytest.approx(0.8, abs=0.03)
    assert counts[Kind.TOO_EXPENSIVE] / orders == pytest.approx(0.1, abs=0.02)
    assert counts[Kind.NO_ACCOUNT] / orders == pytest.approx(0.1, abs=0.02)
    assert counts[Kind.TOP_UP] / orders == pytest.approx(0.1, abs=0.02)
    assert counts[Kind.LIST_ORDERS] / orders == pytest.approx(0.2, abs=0.03)


def test_gaps_are_those_of_users_who_do_not_wait_for_each_other() -> None:
    """Of a Poisson process, the gaps deviate by as much as they last on average."""
    gaps = [after - before for before, after in itertools.pairwise(at for at, _ in plan())]
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.1)


def test_a_plan_comes_again_with_its_seed() -> None:
    assert plan(seed=7) == plan(seed=7)
    assert plan(seed=7) != plan(seed=8)


class Sent(Pool):
    """Keeps what is sent. Every `nth` order is accepted at once, and nothing else is answered."""

    def __init__(self, nth: int) -> None:
        super().__init__("http://127.0.0.1:1", 1)
        self._nth = nth
        self.calls: list[Planned] = []

    def send(self, call: PendingRequest) -> None:
        assert isinstance(call, Planned)
        self.calls.append(call)
        if isinstance(call, PlaceOrder) and self._nth and len(self.calls) % self._nth == 0:
            call.answered(201, b'{"id":"%d"}' % len(self.calls), time.perf_counter())


async def sent(nth: int, seed: str) -> list[tuple[float, Kind, str, int]]:
    """When what was due, and of whom; which order is shown is for the moment to decide."""
    entrance = Entrance("http://127.0.0.1:1", 1)
    entrance.pool = pool = Sent(nth)
    users = [User(f"user-{n}", n > 9, entrance, Journeys()) for n in range(100)]
    start = time.perf_counter()
    await Traffic(Parameters(rate=5000.0, seconds=0.2, users=100), users, seed, Answers()).by_plan(start)
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


async def test_whatever_is_answered_the_same_is_sent_with_the_same_seed() -> None:
    planned = await sent(nth=0, seed="7")
    assert len(planned) > 500
    assert await sent(nth=2, seed="7") == planned
    assert await sent(nth=2, seed="8") != planned


def test_processes_together_have_the_whole_load() -> None:
    whole = Parameters(users=11, rate=90.0, in_flight=4, processes=3)
    shares = parts(whole)
    assert [share.users for share in shares] == [4, 4, 3]
    assert sum(share.in_flight for share in shares) == 4
    assert sum(share.rate for share in shares) == pytest.approx(90)


def test_nothing_is_declined_when_nothing_shall_be() -> None:
    endless = kinds(Parameters(declined=0.0, reads=0.0, top_ups=0.0), random.Random(1))  # noqa: S311
    assert set(itertools.islice(endless, 500)) == {Kind.PAID}


def test_words_become_parameters() -> None:
    assert parse(Parameters, ["RATE=12.5", "USERS=7", "URL=http://127.0.0.1:1"]).rate == 12.5


@pytest.mark.parametrize(
    ("word", "says"), [("RATES=3", "unknown: RATES"), ("USERS=none", "USERS"), ("RATE=-1", "RATE")]
)
def test_a_wrong_word_is_named(word: str, says: str) -> None:
    with pytest.raises(Failed, match=says):
        parse(Parameters, [word])
