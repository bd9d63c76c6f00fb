"""HDR histograms of times. They give percentiles to three digits, and merge without loss."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import msgspec
from hdrh.histogram import HdrHistogram  # untyped

MICROSECONDS = 1_000_000
LONGEST_MICROSECONDS = 3600 * MICROSECONDS


class Figures(msgspec.Struct, frozen=True):
    """Times in milliseconds. `hdr` is the whole histogram, of microseconds, in the encoding of HdrHistogram.

    `hdr` is empty after `figures(whole=False)`.
    """

    count: int
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    hdr: str = ""


class Histogram:
    """A histogram of times in seconds. It keeps whole microseconds, and counts longer times as an hour."""

    def __init__(self, times: Iterable[float] = (), digits: int = 3) -> None:
        self._hdr: Any = HdrHistogram(1, LONGEST_MICROSECONDS, digits)
        for time in times:
            self.record(time)

    def record(self, seconds: float) -> None:
        self._hdr.record_value(max(0, round(min(seconds * MICROSECONDS, LONGEST_MICROSECONDS))))

    def add(self, other: "Histogram") -> None:
        self._hdr.add(other._hdr)

    @property
    def count(self) -> int:
        return self._hdr.get_total_count()

    def milliseconds(self, percentile: float) -> float:
        """Returns 0 if there are no values."""
        return self._hdr.get_value_at_percentile(percentile) / 1000

    @property
    def longest(self) -> float:
        return self._hdr.get_max_value() / 1000 if self.count else 0.0

    def figures(self, whole: bool = True) -> Figures:
        p50, p90, p99, p999 = map(self.milliseconds, (50, 90, 99, 99.9))
        return Figures(self.count, p50, p90, p99, p999, self.longest, self.encoded() if whole else "")

    def encoded(self) -> str:
        return self._hdr.encode().decode()

    @classmethod
    def decoded(cls, text: str) -> Self:
        found = cls()
        found._hdr = HdrHistogram.decode(text)
        return found


def merge(encoded: Sequence[str]) -> Histogram:
    """Merges one or more encoded histograms."""
    first, *others = map(Histogram.decoded, encoded)
    for other in others:
        first.add(other)
    return first
