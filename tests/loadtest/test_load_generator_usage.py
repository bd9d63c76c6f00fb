from loadtest.load.generator_usage import INTERVAL_SECONDS, GeneratorUsage
from loadtest.load.histogram import Histogram


def test_a_stalled_loop_is_late_for_every_missed_measurement() -> None:
    """The loop stalls for one second of ten. A twentieth of all measurements is at least half a second late."""
    usage, due = GeneratorUsage(), 0.0
    while due < 4:
        due = usage.record_wakeup(due, due)
    due = usage.record_wakeup(due, due + 1)
    while due < 10:
        due = usage.record_wakeup(due, due)
    lag = Histogram(usage.lags)
    assert lag.count == len(usage.lags) >= 10 / INTERVAL_SECONDS - 1
    assert lag.milliseconds(89) == 0
    assert lag.milliseconds(95) > 400


def test_a_loop_that_wakes_early_is_not_late_and_waits_for_the_next_measurement() -> None:
    usage = GeneratorUsage()
    assert usage.record_wakeup(1.0, 0.9995) == 1.0 + INTERVAL_SECONDS
    assert list(usage.lags) == [0.0]
