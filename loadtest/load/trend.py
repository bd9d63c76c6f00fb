"""The trend of a value that was measured repeatedly."""

import statistics
from collections.abc import Sequence
from itertools import combinations

import msgspec


class Series(msgspec.Struct, frozen=True):
    """The values of one thing over time. `most` is the allowed rise. Without it, the series is only shown."""

    what: str
    name: str
    seconds: list[float]
    values: list[float]
    most: float | None = None


def rise(series: Series) -> float:
    """Returns the rise in the last two thirds of the time. In the first third, caches may still fill.

    The slope is the median of the slopes between all pairs of points (Theil-Sen estimator). A minority of outliers,
    such as spikes or a quiet end, does not change it much.
    """
    start = series.seconds[-1] / 3
    points = [(at, value) for at, value in zip(series.seconds, series.values, strict=True) if at >= start]
    slopes = [(w - v) / (b - a) for (a, v), (b, w) in combinations(points, 2) if b > a]
    return statistics.median(slopes) * (points[-1][0] - points[0][0]) if slopes else 0.0


def bound(values: Sequence[float], share: float, least: float) -> float:
    """Returns the allowed rise: `share` of the median value, but at least `least`."""
    return max(least, share * statistics.median(values))
