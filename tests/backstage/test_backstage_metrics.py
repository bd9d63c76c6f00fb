import math
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Info, generate_latest

from backstage.build_snapshot import build_snapshot
from backstage.scrape import ScrapedMetrics, parse_metrics
from backstage.snapshot import NotifierReplica, OrdersReplica, PaymentsReplica, Snapshot

NOW = datetime.now(UTC)


def metrics_of(service: str, replica: str, *lines: str) -> ScrapedMetrics:
    build = f'gozon_build_info{{replica="{replica}",revision="r",service="{service}",version="1"}} 1.0'
    return parse_metrics("\n".join([*lines, build]))


def snapshot_of(*scraped: ScrapedMetrics) -> Snapshot:
    return build_snapshot(NOW, scraped, [])


def toasts(**counts: int) -> list[str]:
    """Returns the lines of a histogram. `toasts(_1=2, Inf=3)`: 2 within 0.1 s, and 3 in all."""
    bounds = {name: name.replace("_", "0.").replace("Inf", "+Inf") for name in counts}
    return [f'gozon_order_to_toast_seconds_bucket{{le="{bounds[name]}"}} {counts[name]}.0' for name in counts]


def test_a_snapshot_has_the_counters_of_each_replica() -> None:
    snapshot = snapshot_of(
        metrics_of(
            "orders",
            "o",
            "gozon_orders_accepted_total 10.0",
            'gozon_orders_decided_total{status="FINISHED"} 8.0',
            'gozon_orders_decided_total{status="CANCELLED"} 2.0',
        ),
        metrics_of(
            "payments",
            "p",
            'gozon_payments_settled_total{outcome="succeeded"} 8.0',
            'gozon_payments_settled_total{outcome="no_account"} 1.0',
            'gozon_payments_settled_total{outcome="insufficient_funds"} 4.0',
        ),
        metrics_of("notifier", "n", "gozon_sockets 3.0", "gozon_frames_delivered_total 22.0", *toasts(_1=1, Inf=9)),
    )
    assert snapshot.replicas == [
        NotifierReplica("n", sockets=3, delivered=22, toasts=[1, 9]),
        OrdersReplica("o", accepted=10, finished=8, cancelled=2),
        PaymentsReplica("p", paid=8, declined=5),
    ]
    assert snapshot.toast_buckets == [0.1]


def test_a_new_replica_has_all_counters_at_0() -> None:
    snapshot = snapshot_of(
        *(metrics_of(service, "new") for service in ("orders", "payments", "notifier", "gateway"))
    )
    assert msgspec.to_builtins(snapshot.replicas) == [
        {"service": "gateway", "name": "new"},
        {"service": "notifier", "name": "new", "sockets": 0, "delivered": 0, "toasts": [0]},
        {"service": "orders", "name": "new", "accepted": 0, "finished": 0, "cancelled": 0},
        {"service": "payments", "name": "new", "paid": 0, "declined": 0},
    ]
    assert snapshot.toast_buckets == []


def test_a_restarted_replica_has_its_new_counts() -> None:
    before = snapshot_of(metrics_of("orders", "o", "gozon_orders_accepted_total 500.0"))
    after = snapshot_of(metrics_of("orders", "o", "gozon_orders_accepted_total 1.0"))
    assert [before.replicas, after.replicas] == [[OrdersReplica("o", count, 0, 0)] for count in (500, 1)]


def test_replicas_are_sorted_and_listed_once() -> None:
    answers = [metrics_of(service, name) for service in ("payments", "gateway") for name in ("b", "a")]
    names = [type(replica).__name__ + replica.name for replica in snapshot_of(*answers, *answers).replicas]
    assert names == ["GatewayReplicaa", "GatewayReplicab", "PaymentsReplicaa", "PaymentsReplicab"]


@pytest.mark.parametrize(
    ("counts", "rows"), [([3, 5, 4], 5), ([math.nan, 2], 2), ([0], 0), ([math.nan, math.nan], None), ([], None)]
)
def test_the_waiting_rows_are_the_largest_count_of_any_replica(counts: list[float], rows: int | None) -> None:
    """The replicas count the rows of one database, so their counts must not be added."""
    answers = [metrics_of("orders", f"o{i}", f"gozon_outbox_waiting {count}") for i, count in enumerate(counts)]
    waiting = snapshot_of(
        *answers, metrics_of("payments", "p", "gozon_outbox_waiting 7.0", "gozon_inbox_waiting NaN")
    ).waiting
    assert (waiting.orders_outbox, waiting.payments_outbox, waiting.payments_inbox) == (rows, 7, None)


def test_only_buckets_common_to_all_notifiers_are_shown() -> None:
    snapshot = snapshot_of(
        metrics_of("notifier", "new", *toasts(_1=1, _25=2, _5=4, Inf=6)),
        metrics_of("notifier", "old", *toasts(_1=3, _5=5, Inf=5)),
        metrics_of("notifier", "older"),
    )
    assert snapshot.toast_buckets == [0.1, 0.5]
    toasts_of = {r.name: r.toasts for r in snapshot.replicas if isinstance(r, NotifierReplica)}
    assert toasts_of == {"new": [1, 4, 6], "old": [3, 5, 5], "older": [0, 0, 0]}


def test_other_metrics_are_not_parsed() -> None:
    broken = ["# HELP x", "not a metric {", 'gozon_sockets_closed_total{code="']
    answer = metrics_of("notifier", "n", *broken, "gozon_sockets 1.0")
    assert snapshot_of(answer).replicas == [NotifierReplica("n", 1, 0, [0])]


def test_other_services_are_left_out() -> None:
    assert snapshot_of(metrics_of("backstage", "b"), metrics_of("warehouse", "w")).replicas == []


@pytest.mark.parametrize("metrics", ["", "<html>", "gozon_build_info 1.0", "gozon_sockets 1.0"])
def test_metrics_without_a_service_and_replica_are_refused(metrics: str) -> None:
    with pytest.raises(ValueError, match="service and replica"):
        parse_metrics(metrics)


def test_a_value_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="many"):
        metrics_of("notifier", "n", "gozon_sockets many")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_replica_name_is_read_unchanged(name: str) -> None:
    registry = CollectorRegistry()
    Info("gozon_build", "What is running", registry=registry).info({"service": "orders", "replica": name})
    assert parse_metrics(generate_latest(registry).decode()).replica == name
