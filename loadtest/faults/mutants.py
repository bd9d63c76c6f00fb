"""Mistakes, each a small textual change of the sources that breaks one promise, and what must notice it.

Where a promise is kept twice, the mistake takes away both, and says so.
"""

from typing import NamedTuple


class Edit(NamedTuple):
    """`old` must stand in the file exactly once."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """One of `turns_red` must not hold after `faults`.

    Without `faults` the shop repairs what the mistake breaks, and `turns_red` names the tests that must fail.
    """

    name: str
    edits: tuple[Edit, ...]
    faults: tuple[str, ...]
    turns_red: tuple[str, ...]


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
    # The key of payments, what is read of them and the key of the ledger each keep this alone.
    Mutant(
        "an order that was decided is decided again",
        DECIDED_AGAIN,
        ("remind of everything",),
        ("charged-once",),
    ),
    # Without the second half nothing happens: the payment is known, and its outcome is sent once more.
    Mutant(
        "the inbox takes an event twice (and payments are forgotten)",
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
    # A deadlock is only a pause: one of the two batches is tried again.
    Mutant(
        "a batch of results does not lock its orders first",
        (Edit("orders/apply_payment_results.py", "    await connection.execute(LOCK, ids)\n", ""),),
        (),
        (f"{RESULTS}::test_a_batch_locks_its_orders_in_the_order_of_their_ids",),
    ),
    # With the settings of `shopkit/db/connect.py` PostgreSQL walks along the primary key, in the order of ids, also
    # without ORDER BY. With any other plan the line keeps two replicas from a deadlock.
    Mutant(
        "orders are locked in the order in which a plan finds them",
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
        "a status is told before it is committed",
        (
            Edit(
                "orders/apply_payment_results.py",
                "            await outbox.add(connection, status_events)\n",
                "            async with self._database.at_once() as early:\n"
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
        # An order is gone when its answer was on its way before the kill. Else the key finds another order.
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
        "Redis publishes an event as often as it comes",
        (Edit("notifier/fan_out.lua", "'NX', ", ""),),
        ("copy everything",),
        ("no-toast-doubled",),
    ),
    Mutant(
        "who comes back is not given what it missed",
        (Edit("notifier/hub.py", "frames = [entry.frame for entry in read.kept]", "frames = []"),),
        ("kill notifier",),
        ("no-toast-lost",),
    ),
    # The subscription must be replaced between a read and its reply, which no fault brings about.
    Mutant(
        "a socket that joins does not notice that the subscription was replaced",
        (Edit("notifier/hub.py", "if self.subscriber.sessions != session:", "if False:"),),
        (),
        (f"{JOINING}::test_what_is_published_while_the_subscription_is_lost_is_given_to_a_socket_that_joins",),
    ),
    Mutant(
        "a socket that leaves before it has joined keeps its place",
        (
            Edit(
                "notifier/hub.py",
                "        self.presence.left(socket.user_id, socket.id)\n\n    def acked",
                "        if socket.epoch:\n"
                "            self.presence.left(socket.user_id, socket.id)\n\n    def acked",
            ),
        ),
        (),
        (f"{JOINING}::test_sockets_whose_openings_are_answered_too_late_give_their_places_back",),
    ),
    # Without the second half the process ends with its consumer, and the supervisor starts a whole one.
    Mutant(
        "a lost session ends the consumer for good",
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
