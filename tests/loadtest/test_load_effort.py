from loadtest.load.effort import EVERY_SECONDS, Effort
from loadtest.load.histogram import Histogram


def test_a_stalled_loop_is_late_for_every_moment_that_it_missed() -> None:
    """Of ten seconds it stalls one: of a tenth of the moments, every other one is half a second late or more."""
    effort, due = Effort(), 0.0
    while due < 4:
        due = effort.woke(due, due)
    due = effort.woke(due, due + 1)
    while due < 10:
        due = effort.woke(due, due)
    lag = Histogram(effort.lags)
    assert lag.count == len(effort.lags) >= 10 / EVERY_SECONDS - 1
    assert lag.milliseconds(89) == 0
    assert lag.milliseconds(95) > 400


def test_a_loop_that_wakes_early_is_not_late_and_waits_for_the_next_moment() -> None:
    effort = Effort()
    assert effort.woke(1.0, 0.9995) == 1.0 + EVERY_SECONDS
    assert list(effort.lags) == [0.0]
