"""Compares payments with a simple model: accounts, top-ups, orders and redeliveries in any order, with failures."""

import asyncio
from asyncio import Runner
from collections import Counter
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from orders.messages import PaymentEvent, decode_payment_event, order_created
from payments.accounts import NewTopUp, TopUpResult, TopUps, open_account
from payments.charge_orders import CONFLICT, ChargeOrders
from payments.messages import receive
from shopkit.db.database import Connection, Database
from shopkit.messaging import inbox
from shopkit.messaging.events import Outgoing
from shopkit.messaging.inbox import Inbox, OnCommitted
from shopkit.messaging.inbox_store import WaitingEvent
from shopkit.messaging.journey import Hop
from shopkit.web.problems import Problem
from tests.payments.audit import audit
from tests.payments.payments_model import PaymentsModel
from tests.servers import rows, running
from tests.support import eventually

T = TypeVar("T")

TABLES = ("accounts", "payments", "ledger_entries", "inbox", "inbox_in_hand", "outbox", "dead_letters")
READY = "SELECT event_id FROM inbox WHERE processed_at IS NULL AND (not_before IS NULL OR not_before <= now())"
PAYMENTS = """
    SELECT order_id, user_id, amount, reason, account_version, balance_before, outcome FROM payments
"""

# There are few amounts, and they are round, so that an order often takes exactly the balance.
users = st.sampled_from(["ann", "ann", "bob", "eve"])
amounts = st.sampled_from([10, 20, 30, 50])
top_ups = st.builds(NewTopUp, users, amounts, st.sampled_from([None, None, "a", "b"]))
# 0 stands for the whole balance, and -1 for one kopeck more than the balance.
wanted_orders = st.lists(st.tuples(users, amounts | st.sampled_from([0, -1])), min_size=1, max_size=4)
troubles = st.sampled_from([None, None, None, None, ConnectionResetError, ValueError, asyncio.CancelledError])


THOROUGH = settings(max_examples=35, stateful_step_count=30, report_multiple_bugs=False)


def batches_of(events: st.SearchStrategy[T]) -> st.SearchStrategy[list[list[T]]]:
    return st.lists(st.lists(events, min_size=1, max_size=6), min_size=1, max_size=4)


class Created(NamedTuple):
    """An order.created event. Its result has the same `traceparent`, which identifies the event."""

    event: Outgoing
    traceparent: str
    order_id: UUID
    user_id: str
    amount: int


class FailingHandler:
    """Charges orders. If `trouble` is set, it raises that once, after everything is written."""

    def __init__(self) -> None:
        self.trouble: type[BaseException] | None = None

    async def __call__(self, connection: Connection, waiting: Sequence[WaitingEvent]) -> OnCommitted:
        committed = await ChargeOrders("payments-1", lambda: None).charge(connection, waiting)
        if trouble := self.trouble:
            self.trouble = None
            raise trouble("before the commit")
        return committed


class History(RuleBasedStateMachine):
    """Runs operations on payments and compares their effects with the model.

    The inbox determines which events are processed, and in which order. The model determines their outcomes.
    """

    events: "Bundle[Created]" = Bundle("events")

    def __init__(self, runner: Runner, database: Database) -> None:
        super().__init__()
        self.runner = runner
        self.database = database
        self.model = PaymentsModel()
        self.created: dict[str, Created] = {}
        self.processed: set[UUID] = set()
        self.troubles = 0
        self.suspicious = False
        for table in TABLES:  # the tables are small, so this is faster than TRUNCATE
            self.rows(f"DELETE FROM {table}")
        self.replica = self.new_replica()

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.run(rows(self.database, query))]

    def new_replica(self) -> Inbox:
        self.handler = FailingHandler()
        return Inbox(self.database, "payments-1", self.handler)

    @initialize(target=events, balances=st.dictionaries(users, amounts, min_size=1), wanted=wanted_orders)
    def begin(self, balances: dict[str, int], wanted: list[tuple[str, int]]) -> MultipleResults[Created]:
        for user_id, balance in balances.items():
            self.open_account(user_id)
            self.top_up([NewTopUp(user_id, balance)], None)
        return multiple(*self.placed(wanted, deliver=True))

    def open_account(self, user_id: str) -> None:
        if self.model.open(user_id):
            self.run(open_account(self.database, user_id))
        else:
            with pytest.raises(Problem, match="already"):
                self.run(open_account(self.database, user_id))

    @rule(batch=st.lists(top_ups, min_size=1, max_size=4), newcomer=st.none() | users)
    def top_up(self, batch: list[NewTopUp], newcomer: str | None) -> None:
        if newcomer is not None:
            self.open_account(newcomer)
        outcomes = self.run(TopUps(self.database).top_up(batch))
        expected = [self.model.top_up(one.user_id, one.amount, one.key) for one in batch]
        assert [balance_or_status(outcome) for outcome in outcomes] == expected

    def create(self, order_id: UUID, user_id: str, amount: int) -> Created:
        number = len(self.created) + 1
        traceparent = f"00-{number:032x}-{number:016x}-01"
        hops = [Hop("accepted", datetime.now(UTC), "orders-1")]
        event = order_created(order_id, user_id, amount, traceparent, hops)
        self.created[traceparent] = Created(event, traceparent, order_id, user_id, amount)
        return self.created[traceparent]

    @rule(target=events, wanted=wanted_orders, deliver=st.booleans())
    def order(self, wanted: list[tuple[str, int]], deliver: bool) -> MultipleResults[Created]:
        return multiple(*self.placed(wanted, deliver))

    def placed(self, wanted: Sequence[tuple[str, int]], deliver: bool) -> list[Created]:
        created = [self.place(user_id, amount) for user_id, amount in wanted]
        if deliver:
            self.run(self.ingest(created))
        return created

    def place(self, user_id: str, amount: int) -> Created:
        whole = self.model.balances.get(user_id) or 1
        return self.create(UUID(int=len(self.created)), user_id, amount if amount > 0 else whole - amount)

    @rule(target=events, first=events, other=st.none() | st.tuples(users, amounts), deliver=st.booleans())
    def order_again(self, first: Created, other: tuple[str, int] | None, deliver: bool) -> Created:
        created = self.create(first.order_id, *(other or (first.user_id, first.amount)))
        if deliver:
            self.run(self.ingest([created]))
        return created

    @rule(batches=batches_of(events))
    def deliver(self, batches: list[list[Created]]) -> None:
        for batch in batches:
            self.run(self.ingest(batch))

    async def ingest(self, batch: Sequence[Created]) -> None:
        await self.replica.store([receive(created.event.event) for created in batch])

    @rule(trouble=troubles)
    def process_batch(self, trouble: type[BaseException] | None) -> None:
        waiting = self.rows(READY + " AND lonely_crashes IS NULL ORDER BY seq")
        expected = [event_id for (event_id,) in waiting][: inbox.INBOX_BATCH_SIZE]
        self.handler.trouble = trouble
        self.troubles += trouble is not None
        with suppress(ConnectionResetError, asyncio.CancelledError):
            self.run(self.replica.process_batch())
        self.handler.trouble = None
        if trouble is asyncio.CancelledError:
            self.replica = self.new_replica()
            self.suspicious = True
        if trouble in (ConnectionResetError, asyncio.CancelledError) or (trouble and len(expected) == 1):
            expected = []
        processed = self.account_for_results(in_order=True)
        assert processed == expected or (processed == [] and self.suspicious)

    @rule(batches=batches_of(events))
    def deliver_to_two_replicas_at_work(self, batches: list[list[Created]]) -> None:
        self.run(self.at_work(2, batches))
        self.account_for_results()

    async def at_work(self, count: int, batches: Sequence[Sequence[Created]] = ()) -> None:
        """Runs new replicas until only events with a later `not_before` are left in the inbox."""
        async with running(*(Inbox(self.database, f"payments-{n}", FailingHandler()) for n in range(count))):
            await asyncio.gather(*(self.ingest(batch) for batch in batches))
            await eventually(self.nothing_ready, 5)

    async def nothing_ready(self) -> bool:
        return not await rows(self.database, READY)

    @rule(forget=st.booleans())
    def let_time_pass(self, forget: bool) -> None:
        self.rows("UPDATE inbox SET not_before = NULL WHERE processed_at IS NULL")
        if forget:
            self.rows("DELETE FROM inbox WHERE processed_at IS NOT NULL")
            self.rows("DELETE FROM inbox_in_hand")  # after that time, every replica has replaced its note
            self.processed.clear()
            self.suspicious = False

    def account_for_results(self, *, in_order: bool = False) -> list[UUID]:
        """Checks that each newly processed event has one result or one dead letter. Returns them in inbox order."""
        self.rows("UPDATE inbox SET not_before = 'infinity' WHERE processed_at IS NULL AND not_before IS NOT NULL")
        rows = self.rows("SELECT event_id FROM inbox WHERE processed_at IS NOT NULL ORDER BY seq")
        processed = [event_id for (event_id,) in rows if event_id not in self.processed]
        self.processed.update(processed)
        with_result, parked = self.with_result(), self.parked()
        assert Counter(with_result + parked) == Counter(processed)
        if in_order:
            assert with_result == [event_id for event_id in processed if event_id not in parked]
        return processed

    def with_result(self) -> list[UUID]:
        """Checks the results in the outbox, and returns the ids of the events that caused them.

        Transactions on the same account or order write to the outbox one after the other, so the order is right.
        """
        results = self.rows("WITH taken AS (DELETE FROM outbox RETURNING *) SELECT event FROM taken ORDER BY id")
        return [self.check_result(decode_payment_event(event)) for (event,) in results]

    def check_result(self, result: PaymentEvent) -> UUID:
        created = self.created[result.traceparent or ""]
        decision = self.model.charge(*created[2:])
        assert decision is not None
        assert result.data.order_id == created.order_id
        assert (result.data.user_id, result.data.amount, result.data.reason) == decision[:3]
        assert [hop.hop for hop in result.journey] == ["accepted", "received", "settled"]
        return created.event.event_id

    def parked(self) -> list[UUID]:
        letters = self.rows(
            "WITH taken AS (DELETE FROM dead_letters RETURNING *) SELECT event_id, error FROM taken"
        )
        by_id = {created.event.event_id: created for created in self.created.values()}
        for event_id, error in letters:
            if error == CONFLICT:
                assert self.model.charge(*by_id[event_id][2:]) is None
            else:
                assert self.troubles >= inbox.ATTEMPTS
        return [event_id for event_id, _ in letters]

    @invariant()
    def the_books_are_right(self) -> None:
        balances = dict(self.rows("SELECT user_id, balance FROM accounts"))
        assert balances == self.model.balances
        decisions = {
            order_id: (*decision, "succeeded" if decision.reason is None else "failed")
            for order_id, decision in self.model.decisions.items()
        }
        assert {order_id: tuple(payment) for order_id, *payment in self.rows(PAYMENTS)} == decisions

    def teardown(self) -> None:
        """One replica processes all remaining events."""
        self.let_time_pass(forget=False)
        self.run(self.at_work(1))
        self.account_for_results()
        self.the_books_are_right()
        assert self.run(audit(self.database)) == self.model.balances
        assert self.rows("SELECT 1 FROM inbox WHERE processed_at IS NULL") == []


def balance_or_status(outcome: TopUpResult | Exception) -> int:
    if isinstance(outcome, Problem):
        return outcome.status
    assert isinstance(outcome, TopUpResult)
    return outcome.topped_up.balance_after


@pytest.mark.timeout(600)  # Hypothesis shortens a failing history before it reports it
def test_any_history_gives_the_same_accounts_as_a_simple_model(
    payments_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "INBOX_BATCH_SIZE", 3)
    monkeypatch.setattr(inbox, "POLL_SECONDS", 0.02)
    database = Database(payments_url, "payments")
    with Runner(loop_factory=asyncio.new_event_loop) as runner:

        class HistoryHere(History):
            def __init__(self) -> None:
                super().__init__(runner, database)

        runner.run(database.open())
        try:
            run_state_machine_as_test(HistoryHere, settings=THOROUGH)
        finally:
            runner.run(database.close())
