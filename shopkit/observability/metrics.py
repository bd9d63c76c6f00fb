"""Logs as JSON lines with the id of the request, and the metrics that several services share."""

import logging
import sys
from collections.abc import Iterator

import structlog
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


def configure_logging(service: str, replica: str, level: str) -> None:
    """One JSON object a line on standard output, from our loggers and from the libraries' alike."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )

    def name_the_replica(
        _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"], event["replica"] = service, replica
        return event

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                name_the_replica,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("uvicorn.error", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for repeating in ("aio_pika", "aiormq"):  # what ends a session is logged by the session
        logging.getLogger(repeating).setLevel(logging.CRITICAL)
