"""Prometheus metrics that several services have, and the response to /metrics."""

from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Info, Metric, generate_latest
from prometheus_client.registry import Collector

BUILD = Info("gozon_build", "Service, replica, version and revision of this process")
BATCH_SIZE = Histogram(
    "gozon_batch_size",
    "Items written or handled in one batch",
    ["stage"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
RELAYED = Counter("gozon_relayed_events", "Outbox events confirmed by the broker", ["routing_key"])
RELAY_FAILURES = Counter("gozon_relay_failures", "Relay passes that were rolled back")
RECEIVED = Counter("gozon_received_events", "Events handled and acknowledged", ["queue"])
DUPLICATES = Counter("gozon_duplicate_events", "Events ignored because they were processed before", ["stage"])
DEAD_LETTERED = Counter("gozon_dead_letters", "Events that became dead letters", ["queue"])
HANDLER_FAILURES = Counter("gozon_handler_failures", "Failed attempts to handle a batch of events", ["stage"])


class _WithServiceLabel(Collector):
    """Adds the label `service` to all metrics of this process.

    Several services have an outbox or a consumer. Without the label, a query would mix their metrics.
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
    registry.register(_WithServiceLabel(service))
    return generate_latest(registry)
