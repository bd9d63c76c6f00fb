"""What must hold of orders by themselves, and of everything that is on its way."""

from auditor.invariants import Queried

ORDERS = (
    Queried(
        "status-and-version",
        "orders",
        "An order is NEW in version 1 or final in version 2, and has a reason exactly when CANCELLED.",
        """
        SELECT id, user_id, status, version, reason,
               CASE status WHEN 'NEW' THEN version = 1 AND reason IS NULL
                           WHEN 'FINISHED' THEN version = 2 AND reason IS NULL
                           WHEN 'CANCELLED' THEN version = 2 AND reason IS NOT NULL END AS holds
        FROM orders
        """,
    ),
    Queried(
        "no-order-left-new",
        "orders",
        "No order is NEW for longer than the grace.",
        """
        SELECT id, user_id, amount, created_at, created_at > now() - make_interval(secs => :grace) AS holds
        FROM orders WHERE status = 'NEW'
        """,
    ),
    Queried(
        "orders-outbox-moves",
        "orders",
        "No event waits in the outbox of orders for longer than the grace.",
        """
        SELECT id, event_id, routing_key, created_at, created_at > now() - make_interval(secs => :grace) AS holds
        FROM outbox
        """,
    ),
)

WAITING_IN_PAYMENTS = (
    Queried(
        "inbox-moves",
        "payments",
        "No event waits in the inbox for longer than the grace.",
        """
        SELECT seq, event_id, type, received_at, attempts, last_error,
               received_at > now() - make_interval(secs => :grace) AS holds
        FROM inbox WHERE processed_at IS NULL
        """,
    ),
    Queried(
        "payments-outbox-moves",
        "payments",
        "No event waits in the outbox of payments for longer than the grace.",
        """
        SELECT id, event_id, routing_key, created_at, created_at > now() - make_interval(secs => :grace) AS holds
        FROM outbox
        """,
    ),
    Queried(
        "dead-letters-resolved",
        "payments",
        "No dead letter is unresolved.",
        """
        SELECT id, event_id, type, error, parked_at, resolved_at IS NOT NULL AS holds FROM dead_letters
        """,
    ),
)
