"""What became of a user, as far as it has to be judged. Amounts are in kopecks."""

from collections.abc import Sequence

import msgspec


class OrderHistory(msgspec.Struct, frozen=True, omit_defaults=True):
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
    placed: Sequence[OrderHistory] = ()
    pages: Sequence[Sequence[OrderHistory]] = ()
    listed: Sequence[OrderHistory] = ()
    topped_up: int | None = None
    balance: int | None = None


def paid(order_id: str, amount: int) -> OrderHistory:
    return OrderHistory(order_id, amount, "FINISHED", 2)


def declined(order_id: str, amount: int, reason: str) -> OrderHistory:
    return OrderHistory(order_id, amount, "CANCELLED", 2, reason)
