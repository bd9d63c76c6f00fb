"""The decision whether an order is paid: pure functions on locked accounts, one order after the other."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

NO_ACCOUNT = "no_account"
INSUFFICIENT_FUNDS = "insufficient_funds"

# In kopecks. The largest integer that every JSON reader keeps exactly: JavaScript's Number.MAX_SAFE_INTEGER.
BALANCE_LIMIT = 2**53 - 1


class LockedAccount(msgspec.Struct, frozen=True):
    """An account whose row is locked. `version` is the number of its ledger entries; `balance` is in kopecks."""

    balance: int
    version: int

    def after(self, amount: int) -> "LockedAccount":
        """Returns the account after a ledger entry of `amount`, which is negative for a debit."""
        return LockedAccount(self.balance + amount, self.version + 1)


class Charge(msgspec.Struct, frozen=True):
    """A request to pay an order. `event_id` is the id of its order.created event."""

    event_id: UUID
    order_id: UUID
    user_id: str
    amount: int


class Payment(msgspec.Struct, frozen=True):
    """The decision about one order. The payment succeeded if `reason` is None.

    `account` is the account before the decision; None if the user had none. It is also None in a payment that was
    read from the database.
    """

    order_id: UUID
    user_id: str
    amount: int
    reason: str | None
    account: LockedAccount | None


class Settlement(msgspec.Struct, frozen=True):
    """The decisions about a batch of charges.

    If an order was decided before, its recorded payment is its outcome again: this repairs the loss of a result. If
    the earlier decision was about another user or amount, the charge is a conflict.
    """

    decided: list[Payment]
    """New decisions, to be written."""
    outcomes: list[Payment]
    """The payment to publish for each charge that is no conflict, in the order of the charges."""
    conflicts: list[Charge]
    """Charges that become dead letters."""
    accounts: dict[str, LockedAccount]
    """The changed accounts by user id, after all debits."""


def settle(
    charges: Sequence[Charge], accounts: Mapping[str, LockedAccount], recorded: Mapping[UUID, Payment]
) -> Settlement:
    """Decides the charges in their order. `recorded` has earlier payments by order id.

    If the balance is too low for an order, the order is declined. A later, smaller order can still be paid.
    """
    known = dict(recorded)
    current = dict(accounts)
    settlement = Settlement([], [], [], {})
    for charge in charges:
        payment = known.get(charge.order_id)
        if payment is None:
            payment = decide(charge, current.get(charge.user_id))
            known[charge.order_id] = payment
            settlement.decided.append(payment)
            if payment.reason is None:
                current[charge.user_id] = current[charge.user_id].after(-charge.amount)
                settlement.accounts[charge.user_id] = current[charge.user_id]
        elif (payment.user_id, payment.amount) != (charge.user_id, charge.amount):
            settlement.conflicts.append(charge)
            continue
        settlement.outcomes.append(payment)
    return settlement


def decide(charge: Charge, account: LockedAccount | None) -> Payment:
    if account is None:
        reason = NO_ACCOUNT
    elif account.balance < charge.amount:
        reason = INSUFFICIENT_FUNDS
    else:
        reason = None
    return Payment(charge.order_id, charge.user_id, charge.amount, reason, account)
