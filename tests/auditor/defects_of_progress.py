"""Work that waits for too long, and states that are no defect: recent work, and differences caused by timing."""

from tests.auditor.planting import DECLINED, Defects, Statements, of, order, orders, payments


def outgoing(age: str) -> str:
    return f"""
        INSERT INTO outbox (event_id, routing_key, event, created_at)
        VALUES ('{DECLINED}', 'order.created', '', now() - interval '{age}')
    """


def incoming(age: str, processed_at: str = "NULL") -> str:
    return f"""
        INSERT INTO inbox (event_id, type, event, received_at, processed_at)
        VALUES ('{DECLINED}', 'order.created', '', now() - interval '{age}', {processed_at})
    """


def dead_letter(resolved_at: str) -> str:
    return f"""
        INSERT INTO dead_letters (event_id, type, event, error, attempts, resolved_at)
        VALUES ('{DECLINED}', 'order.created', '', 'poison', 8, {resolved_at})
    """


def decided(age: str) -> str:
    return of("payments", "carol", f"decided_at = now() - interval '{age}'")


NEW_AGAIN = of("orders", "carol", "status = 'NEW', version = 1, reason = NULL, created_at = now()")

STUCK: Defects = {
    "new-for-too-long": (orders(order("NEW", 1, age="61 seconds")), {"no-order-left-new": {"user_id": "zoe"}}),
    "in-the-outbox-of-orders-for-too-long": (
        orders(outgoing("61 seconds")),
        {"orders-outbox-moves": {"event_id": DECLINED}},
    ),
    "in-the-outbox-of-payments-for-too-long": (
        payments(outgoing("61 seconds")),
        {"payments-outbox-moves": {"event_id": DECLINED}},
    ),
    "in-the-inbox-for-too-long": (payments(incoming("61 seconds")), {"inbox-moves": {"event_id": DECLINED}}),
    "a-fresh-dead-letter": (
        payments(dead_letter("NULL")),
        {"dead-letters-resolved": {"event_id": DECLINED, "error": "poison"}},
    ),
}

# With the grace period of 60 seconds.
NO_DEFECTS: dict[str, Statements] = {
    "just-new": orders(order("NEW", 1, age="55 seconds")),
    "just-written-by-orders": orders(outgoing("55 seconds")),
    "just-written-by-payments": payments(outgoing("55 seconds")),
    "just-received": payments(incoming("55 seconds")),
    "received-and-processed-long-ago": payments(incoming("1 day", "now() - interval '1 day'")),
    "a-dead-letter-that-is-resolved": payments(dead_letter("now()")),
    "decided-and-its-result-is-under-way": orders(NEW_AGAIN) + payments(decided("55 seconds")),
    "decided-after-the-snapshot-of-orders": orders("DELETE FROM orders WHERE user_id = 'carol'")
    + payments(decided("55 seconds")),
    "declined-and-then-opened-an-account": payments("INSERT INTO accounts (user_id) VALUES ('carol')"),
    "declined-while-the-account-was-being-opened": payments(
        "INSERT INTO accounts SELECT 'carol', 0, 0, min(decided_at) - interval '1 second' FROM payments"
    ),
}
