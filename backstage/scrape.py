"""What a replica says of itself: the few lines of its /metrics that a snapshot is made of."""

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
WANTED = tuple(name + end for name in _names for end in "{ ")


class ScrapedMetrics(NamedTuple):
    service: str
    replica: str
    samples: list[Sample]

    def total(self, name: str, **labels: str) -> int:
        """Over all that have these labels; 0 without any, as a counter with labels begins with what it counts."""
        return sum(int(sample.value) for sample in self._named(name) if labels.items() <= sample.labels.items())

    def known(self, name: str) -> int | None:
        """None where the replica does not know it: it then says NaN."""
        return next((int(s.value) for s in self._named(name) if not math.isnan(s.value)), None)

    def buckets(self, name: str) -> dict[float, int]:
        """A histogram's cumulative counts by upper bound."""
        return {float(sample.labels["le"]): int(sample.value) for sample in self._named(name)}

    def _named(self, name: str) -> Iterable[Sample]:
        return (sample for sample in self.samples if sample.name == name)


def figures(metrics: str) -> ScrapedMetrics:
    """Raises ValueError for what does not come from a replica of ours."""
    wanted = "\n".join(line for line in metrics.split("\n") if line.startswith(WANTED))
    samples = [sample for family in text_string_to_metric_families(wanted) for sample in family.samples]
    for sample in samples:
        if sample.name == BUILD and {"service", "replica"} <= sample.labels.keys():
            return ScrapedMetrics(sample.labels["service"], sample.labels["replica"], samples)
    raise ValueError("it does not say who it is")
