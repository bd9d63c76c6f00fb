from collections.abc import Mapping, Sequence
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from payments.settle import INSUFFICIENT_FUNDS, NO_ACCOUNT, Account, Charge, Payment, settle

FULL = Account(100, 7)


def charge(amount: int, user_id: str = "ann", order_id: UUID | None = None) -> Charge:
    return Charge(uuid4(), order_id or uuid4(), user_id, amount)


def reasons(charges: Sequence[Charge], accounts: Mapping[str, Account]) -> list[str | None]:
    return [payment.reason for payment in settle(charges, accounts, {}).outcomes]


def test_an_order_that_fits_is_paid() -> None:
    one = charge(40)
    settlement = settle([one], {"ann": FULL}, {})
    paid = Payment(one.order_id, "ann", 40, None, FULL)
    assert settlement.decided == settlement.outcomes == [paid]
    assert settlement.accounts == {"ann": Account(60, 8)}
    assert settlement.conflicts == []


def test_an_order_may_take_the_exact_balance_and_no_kopeck_more() -> None:
    assert reasons([charge(100)], {"ann": FULL}) == [None]
    assert reasons([charge(101)], {"ann": FULL}) == [INSUFFICIENT_FUNDS]


def test_an_order_without_an_account_is_declined() -> None:
    settlement = settle([charge(1, "bob")], {"ann": FULL}, {})
    assert [(payment.reason, payment.account) for payment in settlement.decided] == [(NO_ACCOUNT, None)]
    assert settlement.accounts == {}


def test_after_a_declined_order_the_next_may_still_fit() -> None:
    charges = [charge(70), charge(50), charge(30), charge(1)]
    assert reasons(charges, {"ann": FULL}) == [None, INSUFFICIENT_FUNDS, None, INSUFFICIENT_FUNDS]
    assert settle(charges, {"ann": FULL}, {}).accounts == {"ann": Account(0, 9)}


def test_accounts_do_not_touch_each_other() -> None:
    settlement = settle([charge(100), charge(100, "bob")], {"ann": FULL, "bob": Account(99, 0)}, {})
    assert [payment.reason for payment in settlement.outcomes] == [None, INSUFFICIENT_FUNDS]
    assert settlement.accounts == {"ann": Account(0, 8)}


def test_an_order_that_comes_twice_is_paid_once_and_told_twice() -> None:
    one = charge(60)
    settlement = settle([one, one, charge(60, order_id=one.order_id)], {"ann": FULL}, {})
    assert len(settlement.decided) == 1
    assert settlement.outcomes == settlement.decided * 3
    assert settlement.accounts == {"ann": Account(40, 8)}


def test_a_recorded_order_is_told_again_as_it_was_decided() -> None:
    one = charge(60)
    recorded = Payment(one.order_id, "ann", 60, INSUFFICIENT_FUNDS, None)
    settlement = settle([one], {"ann": FULL}, {one.order_id: recorded})
    assert (settlement.decided, settlement.outcomes, settlement.accounts) == ([], [recorded], {})


def test_an_order_that_comes_again_with_other_contents_is_a_conflict() -> None:
    one = charge(60)
    dearer, somebody_elses = charge(61, order_id=one.order_id), charge(60, "bob", one.order_id)
    settlement = settle([one, dearer, somebody_elses], {"ann": FULL, "bob": FULL}, {})
    assert settlement.conflicts == [dearer, somebody_elses]
    assert [payment.order_id for payment in settlement.outcomes] == [one.order_id]
    assert settlement.accounts == {"ann": Account(40, 8)}


class Till:
    """One order at a time, and nothing clever: what `settle` must amount to."""

    def __init__(self, balances: Mapping[str, int]) -> None:
        self.balances = dict(balances)
        self.entries = dict.fromkeys(balances, 0)
        self.book: dict[UUID, tuple[str, int, str | None]] = {}
        self.decided: list[UUID] = []
        self.told: list[tuple[UUID, str | None]] = []
        self.conflicts: list[UUID] = []

    def take(self, charge: Charge) -> None:
        if charge.order_id not in self.book:
            reason = self.pay(charge)
            self.book[charge.order_id] = (charge.user_id, charge.amount, reason)
            self.decided.append(charge.order_id)
        user_id, amount, reason = self.book[charge.order_id]
        if (user_id, amount) == (charge.user_id, charge.amount):
            self.told.append((charge.order_id, reason))
        else:
            self.conflicts.append(charge.event_id)

    def pay(self, charge: Charge) -> str | None:
        if charge.user_id not in self.balances:
            return NO_ACCOUNT
        if self.balances[charge.user_id] < charge.amount:
            return INSUFFICIENT_FUNDS
        self.balances[charge.user_id] -= charge.amount
        self.entries[charge.user_id] += 1
        return None


# Few orders, users and amounts, so that duplicates, conflicts and exact balances are common.
few_orders = st.sampled_from([UUID(int=n) for n in range(6)])
charges_ = st.lists(
    st.builds(Charge, st.uuids(), few_orders, st.sampled_from(["ann", "bob", "eve"]), st.integers(1, 6)),
    max_size=14,
)
balances_ = st.dictionaries(st.sampled_from(["ann", "bob"]), st.integers(0, 14))


@given(charges_, charges_, balances_)
def test_settling_at_once_is_settling_one_after_the_other(
    before: list[Charge], charges: list[Charge], balances: dict[str, int]
) -> None:
    till = Till(balances)
    for earlier in before:
        till.take(earlier)
    accounts = {user_id: Account(balance, 0) for user_id, balance in till.balances.items()}
    recorded = {order_id: Payment(order_id, *payment, None) for order_id, payment in till.book.items()}
    till.decided, till.told, till.conflicts = [], [], []
    till.entries = dict.fromkeys(balances, 0)

    settlement = settle(charges, accounts, recorded)
    for one in charges:
        till.take(one)

    assert [payment.order_id for payment in settlement.decided] == till.decided
    assert [(payment.order_id, payment.reason) for payment in settlement.outcomes] == till.told
    assert [conflict.event_id for conflict in settlement.conflicts] == till.conflicts
    after = accounts | settlement.accounts
    assert {user_id: account.balance for user_id, account in after.items()} == till.balances
    assert {user_id: account.version for user_id, account in after.items()} == till.entries
    assert settlement.accounts.keys() == {user_id for user_id, count in till.entries.items() if count}


@given(charges_, balances_)
def test_each_decision_remembers_the_account_as_it_was_found(
    charges: list[Charge], balances: dict[str, int]
) -> None:
    found = {user_id: Account(balance, 0) for user_id, balance in balances.items()}
    for payment in settle(charges, found, {}).decided:
        assert payment.account == found.get(payment.user_id)
        if payment.reason is None:
            found[payment.user_id] = found[payment.user_id].after(-payment.amount)
            assert found[payment.user_id].balance >= 0
