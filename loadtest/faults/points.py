"""The named points at which a fault can kill a replica: before or after the call of a function.

The services do not know the points: `service_under_faults` wraps their functions.
"""

from typing import NamedTuple


class Point(NamedTuple):
    """A point before the function `where` is called, or after it has returned.

    `where` is `module:function` or `module:class.function`.
    """

    services: tuple[str, ...]
    where: str
    after: bool = False


RELAYING = ("orders", "payments")
CONSUMING = ("orders", "payments", "notifier")

POINTS = {
    "before-order-commit": Point(("orders",), "orders.place_order:_insert"),
    "after-order-commit": Point(("orders",), "orders.place_order:_insert", after=True),
    # The rows are deleted from the outbox, but not committed.
    "before-publish": Point(RELAYING, "shopkit.messaging.publisher:Publisher.publish"),
    # The broker has stored and confirmed the message, but the relay has not received the confirm.
    "before-confirm": Point(RELAYING, "aiormq.channel:Channel._on_confirm_frame"),
    "after-confirm": Point(RELAYING, "shopkit.messaging.publisher:Publisher.publish", after=True),
    "after-outbox-delete": Point(RELAYING, "shopkit.messaging.relay:Relay._report"),
    "before-ingest-commit": Point(("payments",), "shopkit.messaging.inbox_store:store"),
    "after-ingest-commit": Point(("payments",), "shopkit.messaging.inbox_store:store", after=True),
    "before-ack": Point(CONSUMING, "shopkit.messaging.delivery:Delivery.ack"),
    "after-ack": Point(CONSUMING, "shopkit.messaging.delivery:Delivery.ack", after=True),
    # After the last statement of each transaction, and before the first call after its commit.
    "before-charge-commit": Point(("payments",), "shopkit.messaging.inbox_store:mark_processed", after=True),
    "after-charge-commit": Point(("payments",), "payments.charge_orders:ChargeOrders._report"),
    "before-status-commit": Point(("orders",), "orders.apply_payment_results:_not_applied", after=True),
    "after-status-commit": Point(("orders",), "orders.apply_payment_results:_report"),
    "before-redis-publish": Point(("notifier",), "notifier.fan_out:FanOut.publish"),
    "after-redis-publish": Point(("notifier",), "notifier.fan_out:FanOut.publish", after=True),
}
