"""The checks of all users' histories after the load, when every order must have its final status."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Self, TypeAlias

import msgspec

from loadtest.load.history import History, OrderHistory

EXAMPLES_LIMIT = 20

Row: TypeAlias = Mapping[str, object]
Offences: TypeAlias = Iterator[Row]


class CheckResult(msgspec.Struct):
    """The result of one check: `rows` holds the first EXAMPLES_LIMIT of the `offenders`.

    A check that examined nothing (`looked_at` is 0) fails.
    """

    name: str
    statement: str
    looked_at: int = 0
    offenders: int = 0
    rows: list[Row] = []

    @property
    def holds(self) -> bool:
        return self.looked_at > 0 and not self.offenders

    def record(self, count: int, offences: Iterable[Row]) -> Self:
        self.looked_at += count
        for offence in offences:
            self.offenders += 1
            if len(self.rows) < EXAMPLES_LIMIT:
                self.rows.append(offence)
        return self

    def add(self, other: "CheckResult") -> None:
        self.looked_at += other.looked_at
        self.offenders += other.offenders
        self.rows = [*self.rows, *other.rows][:EXAMPLES_LIMIT]


def judge(histories: Sequence[History]) -> list[CheckResult]:
    owners = {order.id: history.user_id for history in histories for order in history.placed}
    return [_judged(check, histories, owners) for check in CHECKS]


def _final_status(history: History, owners: dict[str, str]) -> Offences:  # noqa: ARG001
    """Over REST, every accepted order has the final status of its kind, and the user has no other orders."""
    listed = {order.id: order for order in history.listed}
    for order in history.placed:
        if (found := listed.pop(order.id, None)) != order:
            yield _offence(history, order.id, expected=order, found=found)
    for order in listed.values():
        yield _offence(history, order.id, expected=None, found=order)


def _toasts(history: History, owners: dict[str, str]) -> Offences:  # noqa: ARG001
    """Every socket of the user received exactly one toast of every order, with the right content."""
    placed = {order.id: order for order in history.placed}
    for number, page in enumerate(history.pages):
        times = Counter(toast.id for toast in page)
        for order_id in placed:
            if times[order_id] != 1:
                yield _offence(history, order_id, socket=number, toasts=times[order_id])
        for toast in page:
            if toast.id in placed and toast != placed[toast.id]:
                yield _offence(history, toast.id, socket=number, expected=placed[toast.id], found=toast)


def _own_toasts(history: History, owners: dict[str, str]) -> Offences:
    """No socket received a toast of another user's order."""
    own = {order.id for order in history.placed}
    for number, page in enumerate(history.pages):
        for toast in page:
            if toast.id not in own:
                yield _offence(history, toast.id, socket=number, whose=owners.get(toast.id, "unknown"))


def _balances(history: History, owners: dict[str, str]) -> Offences:  # noqa: ARG001
    """Every balance equals the top-ups minus the paid orders, and a user without an account has no balance."""
    expected = history.topped_up
    if expected is not None:
        expected -= sum(order.amount for order in history.placed if order.status == "FINISHED")
    if history.balance != expected:
        yield {"user": history.user_id, "expected": expected, "found": history.balance}


# Name: the check, whose docstring is the statement in the report, and the number of things that it examines.
CHECKS: dict[str, tuple[Callable[[History, dict[str, str]], Offences], Callable[[History], int]]] = {
    "final status": (_final_status, lambda history: len(history.placed)),
    "one toast per socket": (_toasts, lambda history: len(history.placed) * len(history.pages)),
    "only own toasts": (_own_toasts, lambda history: sum(map(len, history.pages))),
    "balances": (_balances, lambda _: 1),
}


def _judged(name: str, histories: Sequence[History], owners: dict[str, str]) -> CheckResult:
    check, size = CHECKS[name]
    verdict = CheckResult(name, check.__doc__ or "")
    for history in histories:
        verdict.record(size(history), check(history, owners))
    return verdict


def _offence(history: History, order_id: str, **what: OrderHistory | int | str | None) -> Row:
    return {"user": history.user_id, "order": order_id, **what}
