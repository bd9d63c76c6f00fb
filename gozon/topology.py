"""The queues of the shop: which consumer receives which types of events."""

from shopkit.messaging.topology import Queue, Topology

ORDER_CREATED = Queue("payments.order-created", ("order.created",))
PAYMENT_RESULTS = Queue("orders.payment-results", ("payment.succeeded", "payment.failed"))
ORDER_STATUS = Queue("notifier.order-status", ("order.finished", "order.cancelled"))
TOPOLOGY = Topology((ORDER_CREATED, PAYMENT_RESULTS, ORDER_STATUS))
