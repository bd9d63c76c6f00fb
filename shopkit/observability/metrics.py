"""Metrics of Prometheus: those that several services have, and the text in which they are read."""

from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Info, Metric, generate_latest
from prometheus_client.registry import Collector

BUILD = Info("gozon_build", "What is running")
BATCH_SIZE = Histogram(
    "gozon_batch_size",
    "Items written or handled at once",
    ["stage"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
RELAYED = Counter("gozon_relayed_events", "Outbox events confirmed by the broker", ["routing_key"])
RELAY_FAILURES = Counter("gozon_relay_failures", "Relay passes that were rolled back")
RECEIVED = Counter("gozon_received_events", "Events handled and acknowledged", ["queue"])
DUPLICATES = Counter("gozon_duplicate_events", "Events seen before and left alone", ["stage"])
DEAD_LETTERED = Counter("gozon_dead_letters", "Events set aside as dead letters", ["queue"])
HANDLER_FAILURES = Counter("gozon_handler_failures", "Batches that failed and were tried again", ["stage"])


class _OfService(Collector):
    """The metrics of this process with the label `service`.

    Several services have an outbox or a consumer. Without the label a query over all of them mixes theirs.
    """

    def __init__(self, service: str) -> None:
        self._label = {"service": service}

    def collect(self) -> Iterator[Metric]:
        for metric in REGISTRY.collect():
            metric.samples = [sample._replace(labels=sample.labels | self._label) for sample in metric.samples]
            yield metric


def exposition(service: str) -> bytes:
    """Returns the metrics of this process in Prometheus' text format; each has the label `service`."""
    registry = CollectorRegistry()
    registry.register(_OfService(service))
    return generate_latest(registry)
