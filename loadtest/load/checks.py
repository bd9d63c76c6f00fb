"""What must hold of the histories of all users, once everything is settled."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Self, TypeAlias

import msgspec

from loadtest.load.history import History, OrderHistory

EXAMPLES_LIMIT = 20

Row: TypeAlias = Mapping[str, object]
Offences: TypeAlias = Iterator[Row]


class CheckResult(msgspec.Struct):
    """Of the `offenders`, the first are in `rows`. What looked at nothing does not hold."""

    name: str
    statement: str
    looked_at: int = 0
    offenders: int = 0
    rows: list[Row] = []

    @property
    def holds(self) -> bool:
        return self.looked_at > 0 and not self.offenders

    def look(self, count: int, offences: Iterable[Row]) -> Self:
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
    """Every accepted order ended as its kind says, over REST, and the user has no other orders."""
    listed = {order.id: order for order in history.listed}
    for order in history.placed:
        if (found := listed.pop(order.id, None)) != order:
            yield _offence(history, order.id, expected=order, found=found)
    for order in listed.values():
        yield _offence(history, order.id, expected=None, found=order)


def _toasts(history: History, owners: dict[str, str]) -> Offences:  # noqa: ARG001
    """Every socket of its user was told of every order exactly once, and rightly."""
    placed = {order.id: order for order in history.placed}
    for number, page in enumerate(history.pages):
        times = Counter(toast.id for toast in page)
        for order_id in placed:
            if times[order_id] != 1:
                yield _offence(history, order_id, socket=number, toasts=times[order_id])
        for toast in page:
            if toast.id in placed and toast != placed[toast.id]:
                yield _offence(history, toast.id, socket=number, expected=placed[toast.id], found=toast)


def _nobody_elses(history: History, owners: dict[str, str]) -> Offences:
    """No socket was told of an order that is not its user's."""
    own = {order.id for order in history.placed}
    for number, page in enumerate(history.pages):
        for toast in page:
            if toast.id not in own:
                yield _offence(history, toast.id, socket=number, whose=owners.get(toast.id, "nobody's we know"))


def _balances(history: History, owners: dict[str, str]) -> Offences:  # noqa: ARG001
    """A balance is what was topped up less what was paid, and without an account there is none."""
    expected = history.topped_up
    if expected is not None:
        expected -= sum(order.amount for order in history.placed if order.status == "FINISHED")
    if history.balance != expected:
        yield {"user": history.user_id, "expected": expected, "found": history.balance}


CHECKS: dict[str, tuple[Callable[[History, dict[str, str]], Offences], Callable[[History], int]]] = {
    "final status": (_final_status, lambda history: len(history.placed)),
    "one toast a socket": (_toasts, lambda history: len(history.placed) * len(history.pages)),
    "nobody else's toast": (_nobody_elses, lambda history: sum(map(len, history.pages))),
    "balances": (_balances, lambda _: 1),
}


def _judged(name: str, histories: Sequence[History], owners: dict[str, str]) -> CheckResult:
    check, size = CHECKS[name]
    verdict = CheckResult(name, check.__doc__ or "")
    for history in histories:
        verdict.look(size(history), check(history, owners))
    return verdict


def _offence(history: History, order_id: str, **what: OrderHistory | int | str | None) -> Row:
    return {"user": history.user_id, "order": order_id, **what}
