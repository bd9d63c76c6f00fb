"""What users ask of the shop, and what the answer has to be."""

from collections.abc import Callable
from itertools import pairwise
from uuid import uuid4

import msgspec

from loadtest.client import PendingRequest
from loadtest.load.history import OrderHistory, declined, paid
from loadtest.load.schedule import Kind
from loadtest.load.users import ACCOUNT, User

ORDERS = "/api/orders"
# Nobody ever has the most that an order may cost.
TOO_EXPENSIVE = 10**12


class Planned(PendingRequest):
    """A request of the load: `due` when the plan wants it sent, `done` when its answer came.

    The answer should have the status `good`, and `take` says whether its body is right.
    """

    __slots__ = ("done", "due", "finished", "kind", "user")

    good = 200
    due: float
    finished: "Callable[[Planned, int, bytes], None]"

    def __init__(self, kind: Kind, user: User, request: bytes) -> None:
        super().__init__(request)
        self.kind = kind
        self.user = user
        self.done = 0.0

    def answered(self, status: int, body: bytes, at: float) -> None:
        self.done = at
        self.finished(self, status, body)

    def take(self, body: bytes) -> bool:
        raise NotImplementedError


class _Body(msgspec.Struct, frozen=True):
    """What is looked at here, of every answer."""

    id: str = ""
    user_id: str = ""
    amount: int = 0
    balance: int = 0


class _List(msgspec.Struct, frozen=True):
    items: list[_Body]


class PlaceOrder(Planned):
    """With a key, so that it can be sent again to learn what became of one without an answer."""

    __slots__ = ("amount", "id")

    good = 201

    def __init__(self, kind: Kind, user: User, price: int) -> None:
        self.amount = TOO_EXPENSIVE if kind is Kind.TOO_EXPENSIVE else price
        self.id = ""
        body = b'{"amount":%d,"description":"a lamp for the load test"}' % self.amount
        super().__init__(kind, user, user.entrance.post(ORDERS, user.id, body, uuid4().hex))

    def take(self, body: bytes) -> bool:
        said = _body(body)
        self.id = said.id
        return (said.user_id, said.amount) == (self.user.id, self.amount)

    def end(self) -> OrderHistory:
        """How it must end."""
        match self.kind:
            case Kind.TOO_EXPENSIVE:
                return declined(self.id, self.amount, "insufficient_funds")
            case Kind.NO_ACCOUNT:
                return declined(self.id, self.amount, "no_account")
            case _:
                return paid(self.id, self.amount)


class TopUpCall(Planned):
    __slots__ = ("amount",)

    good = 201

    def __init__(self, user: User, amount: int) -> None:
        self.amount = amount
        body = b'{"amount":%d}' % amount
        super().__init__(Kind.TOP_UP, user, user.entrance.post(f"{ACCOUNT}/top-ups", user.id, body, uuid4().hex))

    def take(self, body: bytes) -> bool:
        self.user.topped_up += self.amount
        return _body(body).amount == self.amount


class ShowOrder(Planned):
    __slots__ = ("order",)

    def __init__(self, order: PlaceOrder) -> None:
        self.order = order
        super().__init__(
            Kind.SHOW_ORDER, order.user, order.user.entrance.get(f"{ORDERS}/{order.id}", order.user.id)
        )

    def take(self, body: bytes) -> bool:
        shown = _order(body)
        return shown in (self.order.end(), OrderHistory(self.order.id, self.order.amount, "NEW", 1))


class ListOrders(Planned):
    __slots__ = ()

    def __init__(self, user: User) -> None:
        super().__init__(Kind.LIST_ORDERS, user, user.entrance.get(ORDERS, user.id))

    def take(self, body: bytes) -> bool:
        """All are the user's, newest first: ids are UUIDv7."""
        items = _list(body).items
        in_order = all(newer.id > older.id for newer, older in pairwise(items))
        return in_order and all(item.user_id == self.user.id for item in items)


class ShowBalance(Planned):
    __slots__ = ()

    def __init__(self, user: User) -> None:
        super().__init__(Kind.SHOW_BALANCE, user, user.entrance.get(ACCOUNT, user.id))

    def take(self, body: bytes) -> bool:
        said = _body(body)
        return said.user_id == self.user.id and said.balance >= 0


_body = msgspec.json.Decoder(_Body).decode
_list = msgspec.json.Decoder(_List).decode
_order = msgspec.json.Decoder(OrderHistory).decode
