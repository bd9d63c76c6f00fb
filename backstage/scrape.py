"""Parsing of /metrics: only the lines that a snapshot needs."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

BUILD = "gozon_build_info"
ACCEPTED = "gozon_orders_accepted_total"
DECIDED = "gozon_orders_decided_total"
SETTLED = "gozon_payments_settled_total"
SOCKETS = "gozon_sockets"
DELIVERED = "gozon_frames_delivered_total"
TOASTS = "gozon_order_to_toast_seconds_bucket"
OUTBOX = "gozon_outbox_waiting"
INBOX = "gozon_inbox_waiting"

_names = (BUILD, ACCEPTED, DECIDED, SETTLED, SOCKETS, DELIVERED, TOASTS, OUTBOX, INBOX)
# The starts of the lines to parse, with and without labels.
LINE_PREFIXES = tuple(name + end for name in _names for end in "{ ")


class ScrapedMetrics(NamedTuple):
    """The metrics of one replica."""

    service: str
    replica: str
    samples: list[Sample]

    def total(self, name: str, **labels: str) -> int:
        """Returns the sum of the samples with these labels.

        It is 0 without samples: a counter with labels has no sample before its first count.
        """
        return sum(int(sample.value) for sample in self._named(name) if labels.items() <= sample.labels.items())

    def known(self, name: str) -> int | None:
        """Returns the value of a gauge, or None if it is missing or NaN. NaN means that there is no value."""
        return next((int(s.value) for s in self._named(name) if not math.isnan(s.value)), None)

    def buckets(self, name: str) -> dict[float, int]:
        """Returns the cumulative counts of a histogram by upper bound."""
        return {float(sample.labels["le"]): int(sample.value) for sample in self._named(name)}

    def _named(self, name: str) -> Iterable[Sample]:
        return (sample for sample in self.samples if sample.name == name)


def parse_metrics(text: str) -> ScrapedMetrics:
    """Raises ValueError if `text` is malformed, or has no gozon_build_info that names service and replica."""
    lines = "\n".join(line for line in text.split("\n") if line.startswith(LINE_PREFIXES))
    samples = [sample for family in text_string_to_metric_families(lines) for sample in family.samples]
    for sample in samples:
        if sample.name == BUILD and {"service", "replica"} <= sample.labels.keys():
            return ScrapedMetrics(sample.labels["service"], sample.labels["replica"], samples)
    raise ValueError(f"no {BUILD} with service and replica")
