"""What payments must amount to: one thing after the other, in dictionaries."""

from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

from payments.decisions import INSUFFICIENT_FUNDS, NO_ACCOUNT


class Decision(NamedTuple):
    """`version` and `balance` are those of the account as it was found."""

    user_id: str
    amount: int
    reason: str | None
    version: int | None
    balance: int | None


class PlainBank:
    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        self.decisions: dict[UUID, Decision] = {}
        self._first_of_key: dict[tuple[str, str], tuple[int, int]] = {}

    def open(self, user_id: str) -> bool:
        if user_id in self.balances:
            return False
        self.balances[user_id] = self.versions[user_id] = 0
        return True

    def top_up(self, user_id: str, amount: int, key: str | None) -> int | HTTPStatus:
        """The balance after it, or how it is refused."""
        if user_id not in self.balances:
            return HTTPStatus.NOT_FOUND
        if key is not None and (user_id, key) in self._first_of_key:
            first, balance_after = self._first_of_key[user_id, key]
            return balance_after if first == amount else HTTPStatus.UNPROCESSABLE_ENTITY
        self._book(user_id, amount)
        if key is not None:
            self._first_of_key[user_id, key] = amount, self.balances[user_id]
        return self.balances[user_id]

    def charge(self, order_id: UUID, user_id: str, amount: int) -> Decision | None:
        """What is decided about the order, now or long ago; None when that was about something else."""
        if order_id not in self.decisions:
            self.decisions[order_id] = self._decide(user_id, amount)
        decision = self.decisions[order_id]
        return decision if decision[:2] == (user_id, amount) else None

    def _decide(self, user_id: str, amount: int) -> Decision:
        if user_id not in self.balances:
            return Decision(user_id, amount, NO_ACCOUNT, None, None)
        found = self.versions[user_id], self.balances[user_id]
        if self.balances[user_id] < amount:
            return Decision(user_id, amount, INSUFFICIENT_FUNDS, *found)
        self._book(user_id, -amount)
        return Decision(user_id, amount, None, *found)

    def _book(self, user_id: str, amount: int) -> None:
        self.balances[user_id] += amount
        self.versions[user_id] += 1
