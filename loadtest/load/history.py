"""The data of a user that the checks need. Amounts are in kopecks."""

from collections.abc import Sequence

import msgspec


class OrderHistory(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order as the shop shows it over REST and in a toast. `reason` is why it was cancelled."""

    id: str
    amount: int
    status: str
    version: int
    reason: str | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The orders, toasts and money of one user.

    `placed` holds the accepted orders in the final status that they must reach, `pages` the toasts of each socket.
    `listed` and `balance` are read from the shop after the load. `topped_up` is the sum of all top-ups. It and
    `balance` are None for a user without an account.
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
