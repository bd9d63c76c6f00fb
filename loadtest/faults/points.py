"""The named points at which a replica can be ended: which function, and on which side of it.

The functions belong to the services, which know nothing of it; `fragile` wraps them from outside.
"""

from typing import NamedTuple


class Point(NamedTuple):
    """`where` is module:function or module:class.function; the end comes before it is called, or after it."""

    services: tuple[str, ...]
    where: str
    after: bool = False


RELAYING = ("orders", "payments")
CONSUMING = ("orders", "payments", "notifier")

POINTS = {
    "before-order-commit": Point(("orders",), "orders.place_order:_insert"),
    "after-order-commit": Point(("orders",), "orders.place_order:_insert", after=True),
    # The rows are taken from the outbox, and the delete is not committed.
    "before-publish": Point(RELAYING, "shopkit.messaging.publisher:Publisher.publish"),
    # The broker has the message and has said so, and nobody has heard it yet.
    "before-confirm": Point(RELAYING, "aiormq.channel:Channel._on_confirm_frame"),
    "after-confirm": Point(RELAYING, "shopkit.messaging.publisher:Publisher.publish", after=True),
    "after-outbox-delete": Point(RELAYING, "shopkit.messaging.relay:Relay._report"),
    "before-ingest-commit": Point(("payments",), "shopkit.messaging.inbox_store:store"),
    "after-ingest-commit": Point(("payments",), "shopkit.messaging.inbox_store:store", after=True),
    "before-ack": Point(CONSUMING, "shopkit.messaging.delivery:Delivery.ack"),
    "after-ack": Point(CONSUMING, "shopkit.messaging.delivery:Delivery.ack", after=True),
    # The last statement of each transaction, and what its commit is followed by.
    "before-charge-commit": Point(("payments",), "shopkit.messaging.inbox_store:mark_processed", after=True),
    "after-charge-commit": Point(("payments",), "payments.charge_orders:ChargeOrders._report"),
    "before-status-commit": Point(("orders",), "orders.apply_payment_results:_not_applied", after=True),
    "after-status-commit": Point(("orders",), "orders.apply_payment_results:_report"),
    "before-redis-publish": Point(("notifier",), "notifier.fan_out:FanOut.__call__"),
    "after-redis-publish": Point(("notifier",), "notifier.fan_out:FanOut.__call__", after=True),
}
