import random

import pytest

from loadtest.load.soak import DEAD, FILES, MEMORY, QUEUES, WAITING, no_new_dead_letters, nothing_grows, series_of
from loadtest.load.trend import rise

RANDOM = random.Random(1)  # noqa: S311
SECONDS = [float(10 * n) for n in range(180)]
LAST_TWO_THIRDS = 1_200


def noise(height: float) -> float:
    return RANDOM.uniform(-height, height)


def test_a_value_that_rises_only_at_first_has_no_trend() -> None:
    values = [min(at, 500) / 10 + noise(2) for at in SECONDS]
    assert abs(rise(series_of(MEMORY, "orders-1", SECONDS, values))) < 1


def test_a_steady_rise_is_found_despite_noise() -> None:
    values = [80 + at / 120 + noise(3) for at in SECONDS]
    assert rise(series_of(MEMORY, "orders-1", SECONDS, values)) == pytest.approx(LAST_TWO_THIRDS / 120, rel=0.2)


def test_spikes_are_no_trend() -> None:
    values = [5_000.0 if n % 7 == 6 else 3.0 for n in range(len(SECONDS))]
    assert rise(series_of(WAITING, "orders outbox", SECONDS, values)) == 0


@pytest.mark.parametrize("seconds", [[0.0], [0.0, 10.0]])
def test_one_or_two_samples_have_no_trend(seconds: list[float]) -> None:
    assert rise(series_of(MEMORY, "orders-1", seconds, [1.0] * len(seconds))) == 0


def test_only_series_with_a_limit_are_judged() -> None:
    growing = [80 + at / 60 for at in SECONDS]
    series = [
        series_of(MEMORY, "orders-1", SECONDS, growing),
        series_of(MEMORY, "orders-2", SECONDS, [80.0] * len(SECONDS)),
        series_of(MEMORY, "postgres", SECONDS, growing),
        series_of(MEMORY, "generator", SECONDS, growing),
    ]
    verdict = nothing_grows(series)
    assert (verdict.looked_at, verdict.offenders) == (2, 1)
    assert verdict.rows[0]["name"] == "orders-1"


@pytest.mark.parametrize(
    ("what", "name"),
    [(FILES, "postgres"), (FILES, "redis"), (MEMORY, "rabbitmq"), (QUEUES, "orders.payment-results")],
)
def test_the_growth_of_servers_is_limited_as_well(what: str, name: str) -> None:
    growing = [80 + at for at in SECONDS]
    assert not nothing_grows([series_of(what, name, SECONDS, growing)]).holds
    assert nothing_grows([series_of(what, name, SECONDS, [80.0] * len(SECONDS))]).holds


def test_one_new_dead_letter_fails_the_soak() -> None:
    """One dead letter makes no trend. Dead letters from before the soak do not count."""
    letters = [2.0] * (len(SECONDS) - 1)
    assert no_new_dead_letters([series_of(DEAD, "payments dead_letters", SECONDS, [*letters, 2.0])]).holds
    verdict = no_new_dead_letters([series_of(DEAD, "payments dead_letters", SECONDS, [*letters, 3.0])])
    assert verdict.rows == [{"where": "payments dead_letters", "at first": 2.0, "at most": 3.0}]
    assert nothing_grows([series_of(DEAD, "payments dead_letters", SECONDS, [*letters, 3.0])]).looked_at == 0
