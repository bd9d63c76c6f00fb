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


def said(service: str, replica: str, *lines: str) -> ScrapedMetrics:
    build = f'gozon_build_info{{replica="{replica}",revision="r",service="{service}",version="1"}} 1.0'
    return parse_metrics("\n".join([*lines, build]))


def told(*answers: ScrapedMetrics) -> Snapshot:
    return build_snapshot(NOW, answers, [])


def toasts(**counts: int) -> list[str]:
    """`toasts(_1=2, _5=3, Inf=3)`."""
    bounds = {name: name.replace("_", "0.").replace("Inf", "+Inf") for name in counts}
    return [f'gozon_order_to_toast_seconds_bucket{{le="{bounds[name]}"}} {counts[name]}.0' for name in counts]


def test_counters_are_told_by_replica() -> None:
    snapshot = told(
        said(
            "orders",
            "o",
            "gozon_orders_accepted_total 10.0",
            'gozon_orders_decided_total{status="FINISHED"} 8.0',
            'gozon_orders_decided_total{status="CANCELLED"} 2.0',
        ),
        said(
            "payments",
            "p",
            'gozon_payments_settled_total{outcome="succeeded"} 8.0',
            'gozon_payments_settled_total{outcome="no_account"} 1.0',
            'gozon_payments_settled_total{outcome="insufficient_funds"} 4.0',
        ),
        said("notifier", "n", "gozon_sockets 3.0", "gozon_frames_delivered_total 22.0", *toasts(_1=1, Inf=9)),
    )
    assert snapshot.replicas == [
        NotifierReplica("n", sockets=3, delivered=22, toasts=[1, 9]),
        OrdersReplica("o", accepted=10, finished=8, cancelled=2),
        PaymentsReplica("p", paid=8, declined=5),
    ]
    assert snapshot.toast_buckets == [0.1]


def test_a_replica_that_has_just_started_stands_at_nothing() -> None:
    snapshot = told(*(said(service, "new") for service in ("orders", "payments", "notifier", "gateway")))
    assert msgspec.to_builtins(snapshot.replicas) == [
        {"service": "gateway", "name": "new"},
        {"service": "notifier", "name": "new", "sockets": 0, "delivered": 0, "toasts": [0]},
        {"service": "orders", "name": "new", "accepted": 0, "finished": 0, "cancelled": 0},
        {"service": "payments", "name": "new", "paid": 0, "declined": 0},
    ]
    assert snapshot.toast_buckets == []


def test_one_that_started_anew_is_told_as_it_counts_now() -> None:
    before = told(said("orders", "o", "gozon_orders_accepted_total 500.0"))
    after = told(said("orders", "o", "gozon_orders_accepted_total 1.0"))
    assert [before.replicas, after.replicas] == [[OrdersReplica("o", count, 0, 0)] for count in (500, 1)]


def test_replicas_stand_in_order_and_each_once() -> None:
    answers = [said(service, name) for service in ("payments", "gateway") for name in ("b", "a")]
    names = [type(replica).__name__ + replica.name for replica in told(*answers, *answers).replicas]
    assert names == ["GatewayReplicaa", "GatewayReplicab", "PaymentsReplicaa", "PaymentsReplicab"]


@pytest.mark.parametrize(
    ("counts", "rows"), [([3, 5, 4], 5), ([math.nan, 2], 2), ([0], 0), ([math.nan, math.nan], None), ([], None)]
)
def test_rows_are_those_that_the_best_informed_replica_counts(counts: list[float], rows: int | None) -> None:
    """They read one database; adding up would count each row as often as there are replicas."""
    answers = [said("orders", f"o{i}", f"gozon_outbox_waiting {count}") for i, count in enumerate(counts)]
    waiting = told(*answers, said("payments", "p", "gozon_outbox_waiting 7.0", "gozon_inbox_waiting NaN")).waiting
    assert (waiting.orders_outbox, waiting.payments_outbox, waiting.payments_inbox) == (rows, 7, None)


def test_notifiers_of_two_versions_are_told_by_the_buckets_they_share() -> None:
    snapshot = told(
        said("notifier", "new", *toasts(_1=1, _25=2, _5=4, Inf=6)),
        said("notifier", "old", *toasts(_1=3, _5=5, Inf=5)),
        said("notifier", "older"),
    )
    assert snapshot.toast_buckets == [0.1, 0.5]
    toasts_of = {r.name: r.toasts for r in snapshot.replicas if isinstance(r, NotifierReplica)}
    assert toasts_of == {"new": [1, 4, 6], "old": [3, 5, 5], "older": [0, 0, 0]}


def test_lines_that_nobody_wants_are_not_read() -> None:
    broken = ["# HELP x", "not a metric {", 'gozon_sockets_closed_total{code="']
    answer = said("notifier", "n", *broken, "gozon_sockets 1.0")
    assert told(answer).replicas == [NotifierReplica("n", 1, 0, [0])]


def test_services_of_another_kind_are_not_told() -> None:
    assert told(said("backstage", "b"), said("warehouse", "w")).replicas == []


@pytest.mark.parametrize("metrics", ["", "<html>", "gozon_build_info 1.0", "gozon_sockets 1.0"])
def test_who_does_not_say_who_it_is_is_refused(metrics: str) -> None:
    with pytest.raises(ValueError, match="who it is"):
        parse_metrics(metrics)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="many"):
        said("notifier", "n", "gozon_sockets many")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_of_a_replica_is_read_as_it_was_given(name: str) -> None:
    registry = CollectorRegistry()
    Info("gozon_build", "What is running", registry=registry).info({"service": "orders", "replica": name})
    assert parse_metrics(generate_latest(registry).decode()).replica == name
