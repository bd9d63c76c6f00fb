"""The mutations: small changes of the sources, each of which breaks one guarantee.

Where two places of the code enforce a guarantee, the mutation changes both, and a comment says so.
"""

from typing import NamedTuple


class Edit(NamedTuple):
    """Replaces `old`, which the file must contain exactly once."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A mutation and the invariants or tests that must catch it.

    After `faults`, at least one invariant of `caught_by` must be broken. If the shop repairs the damage by itself,
    `faults` is empty and `caught_by` names tests, of which at least one must fail.
    """

    name: str
    edits: tuple[Edit, ...]
    faults: tuple[str, ...]
    caught_by: tuple[str, ...]


DECIDED_AGAIN = (
    Edit("payments/decisions.py", "known = dict(recorded)", "known = {}"),
    Edit("payments/charge_orders.py", "    ORDER BY order_id\n", "    ORDER BY order_id ON CONFLICT DO NOTHING\n"),
    Edit(
        "payments/migrations/versions/0001_accounts_payments_ledger.py",
        "order_id uuid CONSTRAINT ledger_entries_one_of_an_order UNIQUE,",
        "order_id uuid,",
    ),
)
SEEN_AGAIN = (
    Edit("shopkit/messaging/inbox_store.py", "    ON CONFLICT (event_id) DO NOTHING\n", ""),
    Edit(
        "payments/migrations/versions/0001_accounts_payments_ledger.py",
        "event_id uuid PRIMARY KEY,",
        "event_id uuid NOT NULL,",
    ),
)

RESULTS = "tests/orders/test_payment_results.py"
JOINING = "tests/notifier/test_hub_joining.py"

MUTANTS = (
    # Three parts enforce this, each by itself: the primary key of payments, the lookup of recorded decisions, and
    # the unique constraint of the ledger. The mutation removes all three.
    Mutant(
        "an order that was decided is decided again",
        DECIDED_AGAIN,
        ("remind of everything",),
        ("charged-once",),
    ),
    # Without DECIDED_AGAIN the mutation has no effect: the payment is known, and its result is only sent once more.
    Mutant(
        "the inbox stores an event twice (and recorded payments are ignored)",
        (*SEEN_AGAIN, *DECIDED_AGAIN),
        ("copy everything",),
        ("charged-once",),
    ),
    Mutant(
        "a message is acknowledged before its events are handled",
        (
            Edit(
                "shopkit/messaging/consumer.py",
                "            await self._handle_all(events)\n        await messages[-1].ack(multiple=True)\n",
                "            await messages[-1].ack(multiple=True)\n            await self._handle_all(events)\n",
            ),
        ),
        ("kill before-redis-publish",),
        ("no-toast-lost",),
    ),
    Mutant(
        "returned messages count as published",
        (Edit("shopkit/messaging/broker.py", "on_return_raises=True", "on_return_raises=False"),),
        ("unroute notifier.order-status",),
        ("no-toast-lost",),
    ),
    Mutant(
        "a final status is set again",
        (Edit("orders/apply_payment_results.py", " AND orders.status = 'NEW'", ""),),
        ("copy everything",),
        ("books",),
    ),
    # No fault shows this: a deadlock only delays, because one of the two batches is retried.
    Mutant(
        "a batch of results does not lock its orders first",
        (Edit("orders/apply_payment_results.py", "    await connection.execute(LOCK, ids)\n", ""),),
        (),
        (f"{RESULTS}::test_a_batch_locks_its_orders_in_the_order_of_their_ids",),
    ),
    # With the settings of `shopkit/db/connect.py`, PostgreSQL scans the primary key in the order of ids even
    # without ORDER BY. With any other plan, ORDER BY prevents a deadlock of two replicas.
    Mutant(
        "orders are locked in the order of the query plan",
        (Edit("orders/apply_payment_results.py", " ORDER BY id FOR NO KEY UPDATE", " FOR NO KEY UPDATE"),),
        (),
        (f"{RESULTS}::test_orders_are_locked_in_the_order_of_their_ids_with_any_query_plan",),
    ),
    Mutant(
        "the outbox is emptied before the broker confirms",
        (
            Edit(
                "shopkit/messaging/relay.py",
                "                if taken:\n                    await self._publish(taken)\n",
                "            await self._publish(taken)\n",
            ),
        ),
        ("kill before-publish",),
        ("order-decided", "no-toast-lost"),
    ),
    Mutant(
        "a status is published before it is committed",
        (
            Edit(
                "orders/apply_payment_results.py",
                "            await outbox.add(connection, status_events)\n",
                "            async with self._database.autocommit() as early:\n"
                "                await outbox.add(early, status_events)\n",
            ),
        ),
        ("kill before-status-commit",),
        ("no-toast-doubled",),
    ),
    Mutant(
        "an order is answered before it is committed",
        (
            Edit(
                "orders/routes.py",
                "placed = await call.place.submit(new)",
                "__import__('asyncio').ensure_future(call.place.submit(new))\n"
                "    placed = Placed(new.id, __import__('datetime').datetime.now().astimezone(), replayed=False)",
            ),
        ),
        # If the response left before the kill, the order is missing. If not, the retry creates another order.
        ("kill before-order-commit",) * 3,
        ("answer-kept", "key-honoured"),
    ),
    Mutant(
        "the key of an order is ignored",
        (Edit("orders/routes.py", "parse_key(idempotency_key)", "None"),),
        ("kill after-order-commit",),
        ("key-honoured",),
    ),
    Mutant(
        "the key of a top-up is ignored",
        (Edit("payments/routes.py", "parse_key(idempotency_key)", "None"),),
        ("slow link",),
        ("key-honoured",),
    ),
    Mutant(
        "Redis publishes a redelivered event again",
        (Edit("notifier/fan_out.lua", "'NX', ", ""),),
        ("copy everything",),
        ("no-toast-doubled",),
    ),
    Mutant(
        "a client that reconnects does not receive the missed frames",
        (Edit("notifier/hub.py", "frames = [entry.frame for entry in read.kept]", "frames = []"),),
        ("kill notifier",),
        ("no-toast-lost",),
    ),
    # No fault shows this: the subscription would have to be replaced between a read and its reply.
    Mutant(
        "a socket that joins does not notice that the subscription was replaced",
        (Edit("notifier/hub.py", "if self.subscriber.sessions != session:", "if False:"),),
        (),
        (f"{JOINING}::test_a_joining_socket_receives_messages_published_while_the_subscription_was_lost",),
    ),
    Mutant(
        "a socket that closes before it has joined stays in the list of sockets",
        (
            Edit(
                "notifier/hub.py",
                "        self.presence.left(socket.user_id, socket.id)\n\n    def acked",
                "        if socket.epoch:\n"
                "            self.presence.left(socket.user_id, socket.id)\n\n    def acked",
            ),
        ),
        (),
        (f"{JOINING}::test_sockets_that_fail_to_join_in_time_are_removed_from_the_users_sockets",),
    ),
    # Without the second edit the process exits with its consumer, and the supervisor starts a new one.
    Mutant(
        "a consumer does not reconnect after a lost session",
        (
            Edit(
                "shopkit/messaging/subscription.py",
                "        await self._session.run()",
                "        await self._session._once()",
            ),
            Edit("shopkit/web/service.py", "        self._exit()\n", ""),
        ),
        ("kill rabbitmq",),
        ("ready-again", "order-decided"),
    ),
)
