"""What became of a user, as far as it has to be judged. Amounts are in kopecks."""

from collections.abc import Sequence

import msgspec


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order as the shop shows it, over REST and in a toast. `reason` is that of a cancelled one."""

    id: str
    amount: int
    status: str
    version: int
    reason: str | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """`placed` are the orders that the shop has accepted, as they must end; `pages` the toasts of each socket.

    `listed` and `balance` are what the shop says in the end, when everything is settled. Without an account
    there is no balance, and nothing was topped up.
    """

    user_id: str
    placed: Sequence[Order] = ()
    pages: Sequence[Sequence[Order]] = ()
    listed: Sequence[Order] = ()
    topped_up: int | None = None
    balance: int | None = None


def paid(order_id: str, amount: int) -> Order:
    return Order(order_id, amount, "FINISHED", 2)


def declined(order_id: str, amount: int, reason: str) -> Order:
    return Order(order_id, amount, "CANCELLED", 2, reason)
