"""Whether something that was looked at again and again stays where it is."""

import statistics
from collections.abc import Sequence
from itertools import combinations

import msgspec


class Series(msgspec.Struct, frozen=True):
    """One thing over time. `most` is what it may rise by; without it, it is shown and not judged."""

    what: str
    name: str
    seconds: list[float]
    values: list[float]
    most: float | None = None


def rise(series: Series) -> float:
    """What it rises by in the last two thirds of the time, when everything that has to fill is full.

    The slope is the median of the slopes between all pairs of points (Theil and Sen): half of the points may be
    anything, so neither a spike nor a restful end makes a trend.
    """
    start = series.seconds[-1] / 3
    points = [(at, value) for at, value in zip(series.seconds, series.values, strict=True) if at >= start]
    slopes = [(w - v) / (b - a) for (a, v), (b, w) in combinations(points, 2) if b > a]
    return statistics.median(slopes) * (points[-1][0] - points[0][0]) if slopes else 0.0


def bound(values: Sequence[float], share: float, least: float) -> float:
    """A share of what it usually is, and `least` for what is small."""
    return max(least, share * statistics.median(values))
