import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.load.histogram import Histogram, merge

Times = st.lists(st.floats(min_value=0, max_value=5_000), max_size=50)


def test_percentiles_are_those_of_the_times() -> None:
    seeded = random.Random(1)  # noqa: S311
    times = sorted(seeded.lognormvariate(-3, 1) for _ in range(5_000))
    histogram = Histogram(times)
    for percentile in (50, 90, 99):
        assert histogram.milliseconds(percentile) == pytest.approx(times[50 * percentile] * 1000, rel=0.01)
    assert histogram.longest == pytest.approx(times[-1] * 1000, rel=0.001)


@given(st.lists(Times, min_size=1, max_size=4))
def test_merged_histograms_equal_the_histogram_of_all_times(processes: list[list[float]]) -> None:
    merged = merge([Histogram(times).encoded() for times in processes])
    assert merged.figures() == Histogram(time for times in processes for time in times).figures()


def test_a_coarse_histogram_is_unchanged_by_encoding_and_decoding() -> None:
    coarse = Histogram([0.001, 0.25, 3.0], digits=2)
    assert Histogram.decoded(coarse.encoded()).figures() == coarse.figures()


def test_the_figures_of_no_times_are_zero() -> None:
    figures = Histogram().figures()
    assert (figures.count, figures.p50, figures.max) == (0, 0.0, 0.0)


def test_a_time_of_more_than_an_hour_counts_as_an_hour() -> None:
    assert Histogram([9_999.0]).milliseconds(50) == pytest.approx(3_600_000, rel=0.001)
