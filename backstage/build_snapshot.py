"""Builds a snapshot from the metrics of the replicas. Pure functions."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import inf

from backstage.scrape import ACCEPTED, DECIDED, DELIVERED, INBOX, OUTBOX, SETTLED, SOCKETS, TOASTS, ScrapedMetrics
from backstage.snapshot import (
    GatewayReplica,
    NotifierReplica,
    OrdersReplica,
    PaymentsReplica,
    QueueDepth,
    Replica,
    Snapshot,
    Waiting,
)


def build_snapshot(at: datetime, scraped: Iterable[ScrapedMetrics], depths: list[QueueDepth]) -> Snapshot:
    """Returns the snapshot. A replica that was scraped at two addresses occurs in it once."""
    by_name = {(metrics.service, metrics.replica): metrics for metrics in scraped}
    all_metrics = [by_name[name] for name in sorted(by_name)]
    bounds = _common_bounds(all_metrics)
    replicas = [replica for metrics in all_metrics if (replica := _replica(metrics, bounds))]
    waiting = Waiting(
        orders_outbox=_largest(all_metrics, "orders", OUTBOX),
        payments_outbox=_largest(all_metrics, "payments", OUTBOX),
        payments_inbox=_largest(all_metrics, "payments", INBOX),
    )
    return Snapshot(at, bounds, replicas, waiting, depths)


def _replica(metrics: ScrapedMetrics, bounds: Sequence[float]) -> Replica | None:
    match metrics.service:
        case "orders":
            return OrdersReplica(
                metrics.replica,
                accepted=metrics.total(ACCEPTED),
                finished=metrics.total(DECIDED, status="FINISHED"),
                cancelled=metrics.total(DECIDED, status="CANCELLED"),
            )
        case "payments":
            paid = metrics.total(SETTLED, outcome="succeeded")
            return PaymentsReplica(metrics.replica, paid=paid, declined=metrics.total(SETTLED) - paid)
        case "notifier":
            toasts = metrics.buckets(TOASTS)
            return NotifierReplica(
                metrics.replica,
                sockets=metrics.total(SOCKETS),
                delivered=metrics.total(DELIVERED),
                toasts=[toasts.get(bound, 0) for bound in (*bounds, inf)],
            )
        case "gateway":
            return GatewayReplica(metrics.replica)
        case _:
            return None


def _common_bounds(all_metrics: Iterable[ScrapedMetrics]) -> list[float]:
    """Returns the finite bucket bounds that all notifiers have. Two versions of it may have different buckets.

    The counts are cumulative, so a bucket that is left out does not change the others.
    """
    bounds = [set(buckets) for metrics in all_metrics if (buckets := metrics.buckets(TOASTS))]
    return sorted(bounds[0].intersection(*bounds) - {inf}) if bounds else []


def _largest(all_metrics: Iterable[ScrapedMetrics], service: str, gauge: str) -> int | None:
    """Returns the largest count. All replicas of a service count the same rows, at slightly different times."""
    counts = [metrics.known(gauge) for metrics in all_metrics if metrics.service == service]
    return max((count for count in counts if count is not None), default=None)
