"""The requests of the simulated users, and the check of each response."""

from collections.abc import Callable
from itertools import pairwise
from uuid import uuid4

import msgspec

from loadtest.client import PendingRequest
from loadtest.load.history import OrderHistory, declined, paid
from loadtest.load.schedule import Kind
from loadtest.load.users import ACCOUNT, User

ORDERS = "/api/orders"
# The highest amount that an order can have. No account of a load holds as much (see DEPOSIT in `users`).
TOO_EXPENSIVE = 10**12


class PlannedCall(PendingRequest):
    """A request of the load. `due` is the planned time of sending, `done` the time of the response.

    `expected_status` is the status of a correct response, and `check_body` checks its body. `on_finished` is called
    with the call, the status and the body.
    """

    __slots__ = ("done", "due", "kind", "on_finished", "user")

    expected_status = 200
    due: float
    on_finished: "Callable[[PlannedCall, int, bytes], None]"

    def __init__(self, kind: Kind, user: User, request: bytes) -> None:
        super().__init__(request)
        self.kind = kind
        self.user = user
        self.done = 0.0

    def on_response(self, status: int, body: bytes, at: float) -> None:
        self.done = at
        self.on_finished(self, status, body)

    def check_body(self, body: bytes) -> bool:
        """Returns whether the body is right. Keeps the data that later checks need.

        Raises msgspec.DecodeError for a body of another form.
        """
        raise NotImplementedError


class _Body(msgspec.Struct, frozen=True):
    """The fields that these checks read, of all response bodies."""

    id: str = ""
    user_id: str = ""
    amount: int = 0
    balance: int = 0


class _List(msgspec.Struct, frozen=True):
    items: list[_Body]


class PlaceOrder(PlannedCall):
    """Places an order with an idempotency key, so that a request without a response can be repeated later."""

    __slots__ = ("amount", "id")

    expected_status = 201

    def __init__(self, kind: Kind, user: User, price: int) -> None:
        self.amount = TOO_EXPENSIVE if kind is Kind.TOO_EXPENSIVE else price
        self.id = ""
        body = b'{"amount":%d,"description":"a lamp for the load test"}' % self.amount
        super().__init__(kind, user, user.target.post(ORDERS, user.id, body, uuid4().hex))

    def check_body(self, body: bytes) -> bool:
        placed = _body(body)
        self.id = placed.id
        return (placed.user_id, placed.amount) == (self.user.id, self.amount)

    def expected_end(self) -> OrderHistory:
        """Returns the order in the final status that it must reach."""
        match self.kind:
            case Kind.TOO_EXPENSIVE:
                return declined(self.id, self.amount, "insufficient_funds")
            case Kind.NO_ACCOUNT:
                return declined(self.id, self.amount, "no_account")
            case _:
                return paid(self.id, self.amount)


class TopUpCall(PlannedCall):
    __slots__ = ("amount",)

    expected_status = 201

    def __init__(self, user: User, amount: int) -> None:
        self.amount = amount
        body = b'{"amount":%d}' % amount
        super().__init__(Kind.TOP_UP, user, user.target.post(f"{ACCOUNT}/top-ups", user.id, body, uuid4().hex))

    def check_body(self, body: bytes) -> bool:
        self.user.topped_up += self.amount
        return _body(body).amount == self.amount


class ShowOrder(PlannedCall):
    __slots__ = ("order",)

    def __init__(self, order: PlaceOrder) -> None:
        self.order = order
        super().__init__(Kind.SHOW_ORDER, order.user, order.user.target.get(f"{ORDERS}/{order.id}", order.user.id))

    def check_body(self, body: bytes) -> bool:
        shown = _order(body)
        return shown in (self.order.expected_end(), OrderHistory(self.order.id, self.order.amount, "NEW", 1))


class ListOrders(PlannedCall):
    __slots__ = ()

    def __init__(self, user: User) -> None:
        super().__init__(Kind.LIST_ORDERS, user, user.target.get(ORDERS, user.id))

    def check_body(self, body: bytes) -> bool:
        """Returns whether all orders are the user's, newest first. Ids are UUIDv7, so they sort by time."""
        items = _list(body).items
        in_order = all(newer.id > older.id for newer, older in pairwise(items))
        return in_order and all(item.user_id == self.user.id for item in items)


class ShowBalance(PlannedCall):
    __slots__ = ()

    def __init__(self, user: User) -> None:
        super().__init__(Kind.SHOW_BALANCE, user, user.target.get(ACCOUNT, user.id))

    def check_body(self, body: bytes) -> bool:
        account = _body(body)
        return account.user_id == self.user.id and account.balance >= 0


_body = msgspec.json.Decoder(_Body).decode
_list = msgspec.json.Decoder(_List).decode
_order = msgspec.json.Decoder(OrderHistory).decode
