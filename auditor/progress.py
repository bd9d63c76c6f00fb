"""Invariants of the orders database, and of events that wait: none may wait for longer than the grace period."""

from auditor.invariants import QueryInvariant

ORDERS = (
    QueryInvariant(
        "status-and-version",
        "orders",
        "A NEW order has version 1, a final order version 2. Exactly the CANCELLED orders have a reason.",
        """
        SELECT id, user_id, status, version, reason,
               CASE status WHEN 'NEW' THEN version = 1 AND reason IS NULL
                           WHEN 'FINISHED' THEN version = 2 AND reason IS NULL
                           WHEN 'CANCELLED' THEN version = 2 AND reason IS NOT NULL END AS holds
        FROM orders
        """,
    ),
    QueryInvariant(
        "no-order-left-new",
        "orders",
        "No order is NEW for longer than the grace period.",
        """
        SELECT id, user_id, amount, created_at, created_at > now() - make_interval(secs => :grace) AS holds
        FROM orders WHERE status = 'NEW'
        """,
    ),
    QueryInvariant(
        "orders-outbox-moves",
        "orders",
        "No event waits in the outbox of orders for longer than the grace period.",
        """
        SELECT id, event_id, routing_key, created_at, created_at > now() - make_interval(secs => :grace) AS holds
        FROM outbox
        """,
    ),
)

WAITING_IN_PAYMENTS = (
    QueryInvariant(
        "inbox-moves",
        "payments",
        "No event waits in the inbox for longer than the grace period.",
        """
        SELECT seq, event_id, type, received_at, attempts, last_error,
               received_at > now() - make_interval(secs => :grace) AS holds
        FROM inbox WHERE processed_at IS NULL
        """,
    ),
    QueryInvariant(
        "payments-outbox-moves",
        "payments",
        "No event waits in the outbox of payments for longer than the grace period.",
        """
        SELECT id, event_id, routing_key, created_at, created_at > now() - make_interval(secs => :grace) AS holds
        FROM outbox
        """,
    ),
    QueryInvariant(
        "dead-letters-resolved",
        "payments",
        "No dead letter is unresolved.",
        """
        SELECT id, event_id, type, error, parked_at, resolved_at IS NOT NULL AS holds FROM dead_letters
        """,
    ),
)
