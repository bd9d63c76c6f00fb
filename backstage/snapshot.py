"""The schema of a snapshot. The page's TypeScript types are generated from it through the OpenAPI document."""

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

Name: TypeAlias = Annotated[str, Meta(description="The name of the replica.")]


class OrdersReplica(Struct, frozen=True, tag_field="service", tag="orders"):
    name: Name
    accepted: Annotated[int, Meta(description="Orders accepted since this replica started.")]
    finished: Annotated[int, Meta(description="Orders that became FINISHED here since it started.")]
    cancelled: Annotated[int, Meta(description="Orders that became CANCELLED here since it started.")]


class PaymentsReplica(Struct, frozen=True, tag_field="service", tag="payments"):
    name: Name
    paid: Annotated[int, Meta(description="Orders paid since this replica started.")]
    declined: Annotated[int, Meta(description="Orders declined since it started, for any reason.")]


class NotifierReplica(Struct, frozen=True, tag_field="service", tag="notifier"):
    name: Name
    sockets: Annotated[int, Meta(description="WebSockets that are open now.")]
    delivered: Annotated[int, Meta(description="Order frames written to sockets since this replica started.")]
    toasts: Annotated[
        list[int],
        Meta(
            description="Status changes pushed to open sockets, by time since their order was accepted: one "
            "cumulative count for each of `toast_buckets`, and the count of all."
        ),
    ]


class GatewayReplica(Struct, frozen=True, tag_field="service", tag="gateway"):
    name: Name


Replica: TypeAlias = OrdersReplica | PaymentsReplica | NotifierReplica | GatewayReplica


class Waiting(Struct, frozen=True):
    orders_outbox: Annotated[int | None, Meta(description="Events of orders that are not published yet.")]
    payments_outbox: Annotated[int | None, Meta(description="Events of payments that are not published yet.")]
    payments_inbox: Annotated[
        int | None, Meta(description="Orders that payments has received but not decided yet.")
    ]


class QueueDepth(Struct, frozen=True):
    name: Annotated[str, Meta(description="The name of a queue in RabbitMQ.")]
    messages: Annotated[
        int | None,
        Meta(
            description="Messages that no consumer has received yet, each with 1 to 100 events. "
            "Null if the broker is unavailable."
        ),
    ]


class Snapshot(Struct, frozen=True):
    at: Annotated[datetime, Meta(description="When the figures were read.")]
    toast_buckets: Annotated[
        list[float],
        Meta(description="The finite upper bounds of `toasts`, in seconds. Empty if no notifier responded."),
    ]
    replicas: Annotated[
        list[Replica],
        Meta(
            description="The replicas that responded within a second, at most 64, sorted by service and name. "
            "After a restart, a replica counts from 0 again."
        ),
    ]
    waiting: Annotated[
        Waiting,
        Meta(
            description="Rows that wait in the databases, counted up to 100,000 in each table. "
            "Null if no replica knows the number."
        ),
    ]
    queues: Annotated[list[QueueDepth], Meta(description="The queues that services consume.")]


EXAMPLE = Snapshot(
    at=datetime(2026, 11, 23, 5, 37, 5, 42117, UTC),
    toast_buckets=[0.05, 0.1, 1.0],
    replicas=[
        GatewayReplica("gateway-1"),
        NotifierReplica("notifier-1", sockets=3, delivered=14, toasts=[9, 12, 13, 14]),
        OrdersReplica("orders-1", accepted=12, finished=10, cancelled=2),
        PaymentsReplica("payments-1", paid=10, declined=2),
    ],
    waiting=Waiting(orders_outbox=0, payments_outbox=0, payments_inbox=None),
    queues=[QueueDepth("payments.order-created", 0)],
)
