from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from payments.decisions import INSUFFICIENT_FUNDS, NO_ACCOUNT, Charge, LockedAccount, Payment, settle

FULL = LockedAccount(100, 7)
OWNERS = ("ann", "bob")
USERS = (*OWNERS, "eve")


def charge(amount: int, user_id: str = "ann", order_id: UUID | None = None) -> Charge:
    return Charge(uuid4(), order_id or uuid4(), user_id, amount)


def reasons(charges: Sequence[Charge], accounts: Mapping[str, LockedAccount]) -> list[str | None]:
    return [payment.reason for payment in settle(charges, accounts, {}).outcomes]


def test_an_order_within_the_balance_is_paid() -> None:
    one = charge(40)
    settlement = settle([one], {"ann": FULL}, {})
    paid = Payment(one.order_id, "ann", 40, None, FULL)
    assert settlement.decided == settlement.outcomes == [paid]
    assert settlement.accounts == {"ann": LockedAccount(60, 8)}
    assert settlement.conflicts == []


def test_an_order_can_take_the_exact_balance_but_not_one_kopeck_more() -> None:
    assert reasons([charge(100)], {"ann": FULL}) == [None]
    assert reasons([charge(101)], {"ann": FULL}) == [INSUFFICIENT_FUNDS]


def test_an_order_without_an_account_is_declined() -> None:
    settlement = settle([charge(1, "bob")], {"ann": FULL}, {})
    assert [(payment.reason, payment.account) for payment in settlement.decided] == [(NO_ACCOUNT, None)]
    assert settlement.accounts == {}


def test_a_smaller_order_after_a_declined_one_is_paid() -> None:
    charges = [charge(70), charge(50), charge(30), charge(1)]
    assert reasons(charges, {"ann": FULL}) == [None, INSUFFICIENT_FUNDS, None, INSUFFICIENT_FUNDS]
    assert settle(charges, {"ann": FULL}, {}).accounts == {"ann": LockedAccount(0, 9)}


def test_orders_of_two_accounts_do_not_affect_each_other() -> None:
    settlement = settle([charge(100), charge(100, "bob")], {"ann": FULL, "bob": LockedAccount(99, 0)}, {})
    assert [payment.reason for payment in settlement.outcomes] == [None, INSUFFICIENT_FUNDS]
    assert settlement.accounts == {"ann": LockedAccount(0, 8)}


def test_a_repeated_order_is_paid_once_and_has_two_outcomes() -> None:
    one = charge(60)
    settlement = settle([one, one, charge(60, order_id=one.order_id)], {"ann": FULL}, {})
    assert len(settlement.decided) == 1
    assert settlement.outcomes == settlement.decided * 3
    assert settlement.accounts == {"ann": LockedAccount(40, 8)}


def test_an_order_decided_before_has_its_recorded_outcome_again() -> None:
    one = charge(60)
    recorded = Payment(one.order_id, "ann", 60, INSUFFICIENT_FUNDS, None)
    settlement = settle([one], {"ann": FULL}, {one.order_id: recorded})
    assert (settlement.decided, settlement.outcomes, settlement.accounts) == ([], [recorded], {})


def test_a_repeated_order_with_another_user_or_amount_is_a_conflict() -> None:
    one = charge(60)
    other_amount, other_user = charge(61, order_id=one.order_id), charge(60, "bob", one.order_id)
    settlement = settle([one, other_amount, other_user], {"ann": FULL, "bob": FULL}, {})
    assert settlement.conflicts == [other_amount, other_user]
    assert [payment.order_id for payment in settlement.outcomes] == [one.order_id]
    assert settlement.accounts == {"ann": LockedAccount(40, 8)}


class SettlementModel:
    """A simple model of `settle`: it decides one charge after the other."""

    def __init__(self, accounts: Mapping[str, LockedAccount], recorded: Mapping[UUID, Payment]) -> None:
        self.balances = {user_id: account.balance for user_id, account in accounts.items()}
        self.versions = {user_id: account.version for user_id, account in accounts.items()}
        self.payments = {
            id_: (payment.user_id, payment.amount, payment.reason) for id_, payment in recorded.items()
        }
        self.decided: list[UUID] = []
        self.outcomes: list[tuple[UUID, str | None]] = []
        self.conflicts: list[UUID] = []

    def take(self, charge: Charge) -> None:
        if charge.order_id not in self.payments:
            reason = self.pay(charge)
            self.payments[charge.order_id] = (charge.user_id, charge.amount, reason)
            self.decided.append(charge.order_id)
        user_id, amount, reason = self.payments[charge.order_id]
        if (user_id, amount) == (charge.user_id, charge.amount):
            self.outcomes.append((charge.order_id, reason))
        else:
            self.conflicts.append(charge.event_id)

    def pay(self, charge: Charge) -> str | None:
        if charge.user_id not in self.balances:
            return NO_ACCOUNT
        if self.balances[charge.user_id] < charge.amount:
            return INSUFFICIENT_FUNDS
        self.balances[charge.user_id] -= charge.amount
        self.versions[charge.user_id] += 1
        return None


class Case(NamedTuple):
    accounts: dict[str, LockedAccount]
    recorded: dict[UUID, Payment]
    charges: list[Charge]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Generates orders, some repeated or decided before, mostly with the same contents.

    The balances are about as large as the sum of the first charges.
    """
    contents = st.tuples(st.sampled_from(USERS), st.integers(1, 6))
    orders = [
        Charge(UUID(int=0), UUID(int=n), *user_and_amount)
        for n, user_and_amount in enumerate(draw(st.lists(contents, min_size=3, max_size=8)))
    ]
    charges = draw(st.permutations(orders + draw(st.lists(again(orders), max_size=6))))
    before = draw(st.lists(again(orders), max_size=3))
    reasons = st.sampled_from([None, NO_ACCOUNT, INSUFFICIENT_FUNDS])
    return Case(
        {owner: draw(accounts(owner, charges)) for owner in draw(st.sampled_from([OWNERS, OWNERS[:1]]))},
        {one.order_id: Payment(one.order_id, one.user_id, one.amount, draw(reasons), None) for one in before},
        [replace(charge, event_id=UUID(int=n)) for n, charge in enumerate(charges)],
    )


@st.composite
def again(draw: st.DrawFn, orders: Sequence[Charge]) -> Charge:
    order = draw(st.sampled_from(orders))
    if draw(st.sampled_from([True, True, False])):
        return order
    return replace(order, user_id=draw(st.sampled_from(USERS)), amount=draw(st.integers(1, 7)))


@st.composite
def accounts(draw: st.DrawFn, owner: str, charges: Sequence[Charge]) -> LockedAccount:
    """Generates an account whose balance is the sum of the first few charges, or one kopeck more or less."""
    costs = list(accumulate(charge.amount for charge in charges if charge.user_id == owner)) or [0]
    balance = draw(st.sampled_from(costs)) + draw(st.sampled_from([0, 0, 1, -1]))
    return LockedAccount(max(0, balance), draw(st.integers(0, 9)))


@settings(max_examples=300)
@given(cases())
def test_settling_a_batch_equals_settling_one_charge_after_the_other(case: Case) -> None:
    model = SettlementModel(case.accounts, case.recorded)
    settlement = settle(case.charges, case.accounts, case.recorded)
    for one in case.charges:
        model.take(one)

    assert [payment.order_id for payment in settlement.decided] == model.decided
    assert [(payment.order_id, payment.reason) for payment in settlement.outcomes] == model.outcomes
    assert [conflict.event_id for conflict in settlement.conflicts] == model.conflicts
    for payment in settlement.outcomes:
        assert (payment.user_id, payment.amount, payment.reason) == model.payments[payment.order_id]
    after = case.accounts | settlement.accounts
    assert {user_id: account.balance for user_id, account in after.items()} == model.balances
    assert {user_id: account.version for user_id, account in after.items()} == model.versions
    assert settlement.accounts.keys() == {user_id for user_id in after if after[user_id] != case.accounts[user_id]}


@given(cases())
def test_each_decision_has_the_account_before_it(case: Case) -> None:
    current = dict(case.accounts)
    for payment in settle(case.charges, case.accounts, case.recorded).decided:
        assert payment.account == current.get(payment.user_id)
        if payment.reason is None:
            current[payment.user_id] = current[payment.user_id].after(-payment.amount)
            assert current[payment.user_id].balance >= 0
