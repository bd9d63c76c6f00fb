"""Which orders are paid: a pure decision on locked balances, one order after the other."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

NO_ACCOUNT = "no_account"
INSUFFICIENT_FUNDS = "insufficient_funds"


# The largest integer that every JSON reader keeps exactly: JavaScript's Number.MAX_SAFE_INTEGER. In kopecks.
BALANCE_LIMIT = 2**53 - 1


class LockedAccount(msgspec.Struct, frozen=True):
    """`version` counts the entries in the account's ledger; `balance` is in kopecks."""

    balance: int
    version: int

    def after(self, amount: int) -> "LockedAccount":
        return LockedAccount(self.balance + amount, self.version + 1)


class Charge(msgspec.Struct, frozen=True):
    event_id: UUID
    order_id: UUID
    user_id: str
    amount: int


class Payment(msgspec.Struct, frozen=True):
    """The decision about one order. It was paid when there is no `reason` against it.

    `account` is the account as it was found; None where there was none.
    """

    order_id: UUID
    user_id: str
    amount: int
    reason: str | None
    account: LockedAccount | None


class Settlement(msgspec.Struct, frozen=True):
    """`decided` are new decisions, `conflicts` what to park, `outcomes` what to tell of all others, in order.

    A charge for an order decided before yields the recorded outcome once more, which heals a lost result;
    one that speaks of another user or amount is a conflict.
    """

    decided: list[Payment]
    outcomes: list[Payment]
    conflicts: list[Charge]
    accounts: dict[str, LockedAccount]


def settle(
    charges: Sequence[Charge], accounts: Mapping[str, LockedAccount], recorded: Mapping[UUID, Payment]
) -> Settlement:
    """An order that does not fit is declined, and the next one may still fit."""
    known = dict(recorded)
    balances = dict(accounts)
    settlement = Settlement([], [], [], {})
    for charge in charges:
        payment = known.get(charge.order_id)
        if payment is None:
            payment = decide(charge, balances.get(charge.user_id))
            known[charge.order_id] = payment
            settlement.decided.append(payment)
            if payment.reason is None:
                balances[charge.user_id] = balances[charge.user_id].after(-charge.amount)
                settlement.accounts[charge.user_id] = balances[charge.user_id]
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
