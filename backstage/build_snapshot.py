"""A snapshot from what the replicas said. Pure."""

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


def compose(at: datetime, answers: Iterable[ScrapedMetrics], depths: list[QueueDepth]) -> Snapshot:
    """A replica that answered at two addresses is told once."""
    by_name = {(answer.service, answer.replica): answer for answer in answers}
    found = [by_name[name] for name in sorted(by_name)]
    bounds = _common_bounds(found)
    replicas = [replica for figures in found if (replica := _replica(figures, bounds))]
    waiting = Waiting(
        orders_outbox=_largest(found, "orders", OUTBOX),
        payments_outbox=_largest(found, "payments", OUTBOX),
        payments_inbox=_largest(found, "payments", INBOX),
    )
    return Snapshot(at, bounds, replicas, waiting, depths)


def _replica(said: ScrapedMetrics, bounds: Sequence[float]) -> Replica | None:
    match said.service:
        case "orders":
            return OrdersReplica(
                said.replica,
                accepted=said.total(ACCEPTED),
                finished=said.total(DECIDED, status="FINISHED"),
                cancelled=said.total(DECIDED, status="CANCELLED"),
            )
        case "payments":
            paid = said.total(SETTLED, outcome="succeeded")
            return PaymentsReplica(said.replica, paid=paid, declined=said.total(SETTLED) - paid)
        case "notifier":
            toasts = said.buckets(TOASTS)
            return NotifierReplica(
                said.replica,
                sockets=said.total(SOCKETS),
                delivered=said.total(DELIVERED),
                toasts=[toasts.get(bound, 0) for bound in (*bounds, inf)],
            )
        case "gateway":
            return GatewayReplica(said.replica)
        case _:
            return None


def _common_bounds(found: Iterable[ScrapedMetrics]) -> list[float]:
    """Two versions of the notifier may count by other buckets; a cumulative count can do without some of them."""
    of_each = [set(buckets) for figures in found if (buckets := figures.buckets(TOASTS))]
    return sorted(of_each[0].intersection(*of_each) - {inf}) if of_each else []


def _largest(found: Iterable[ScrapedMetrics], service: str, gauge: str) -> int | None:
    """Every replica of a service counts the rows of the same database, a moment sooner or later."""
    counts = [figures.known(gauge) for figures in found if figures.service == service]
    return max((count for count in counts if count is not None), default=None)
