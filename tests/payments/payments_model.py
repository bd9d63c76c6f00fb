"""A simple model of payments: it processes one request after the other, in dictionaries."""

from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

from payments.decisions import INSUFFICIENT_FUNDS, NO_ACCOUNT


class Decision(NamedTuple):
    """The decision about an order. `version` and `balance` belong to the account before the decision."""

    user_id: str
    amount: int
    reason: str | None
    version: int | None
    balance: int | None


class PaymentsModel:
    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        self.decisions: dict[UUID, Decision] = {}
        self._top_up_by_key: dict[tuple[str, str], tuple[int, int]] = {}

    def open(self, user_id: str) -> bool:
        if user_id in self.balances:
            return False
        self.balances[user_id] = self.versions[user_id] = 0
        return True

    def top_up(self, user_id: str, amount: int, key: str | None) -> int | HTTPStatus:
        """Returns the balance after the top-up, or the status of the error."""
        if user_id not in self.balances:
            return HTTPStatus.NOT_FOUND
        if key is not None and (user_id, key) in self._top_up_by_key:
            earlier_amount, balance_after = self._top_up_by_key[user_id, key]
            return balance_after if earlier_amount == amount else HTTPStatus.UNPROCESSABLE_ENTITY
        self._book(user_id, amount)
        if key is not None:
            self._top_up_by_key[user_id, key] = amount, self.balances[user_id]
        return self.balances[user_id]

    def charge(self, order_id: UUID, user_id: str, amount: int) -> Decision | None:
        """Returns the decision, or None if an earlier decision was about another user or amount."""
        if order_id not in self.decisions:
            self.decisions[order_id] = self._decide(user_id, amount)
        decision = self.decisions[order_id]
        return decision if decision[:2] == (user_id, amount) else None

    def _decide(self, user_id: str, amount: int) -> Decision:
        if user_id not in self.balances:
            return Decision(user_id, amount, NO_ACCOUNT, None, None)
        before = self.versions[user_id], self.balances[user_id]
        if self.balances[user_id] < amount:
            return Decision(user_id, amount, INSUFFICIENT_FUNDS, *before)
        self._book(user_id, -amount)
        return Decision(user_id, amount, None, *before)

    def _book(self, user_id: str, amount: int) -> None:
        self.balances[user_id] += amount
        self.versions[user_id] += 1
