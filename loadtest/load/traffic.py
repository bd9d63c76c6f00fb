"""Sends what the schedule says when it says so, and keeps what came of it."""

import asyncio
import math
import random
import time
from array import array
from collections.abc import Callable, Sequence

import msgspec

from loadtest.load.answers import Answers
from loadtest.load.calls import ListOrders, PlaceOrder, Planned, ShowBalance, ShowOrder, TopUpCall
from loadtest.load.parameters import Parameters
from loadtest.load.schedule import ORDERS, Kind, arrivals, kinds
from loadtest.load.users import User

PRICES = 100, 999


class Traffic:
    """What is planned comes again with its `seed`, so it draws nothing that depends on answers."""

    def __init__(self, parameters: Parameters, users: Sequence[User], seed: str, answers: Answers) -> None:
        self._parameters = parameters
        self._answers = answers
        self._planned = random.Random(f"{seed} plan")
        self._unplanned = random.Random(f"{seed} what was accepted")
        self._customers = [user for user in users if user.has_account]
        self._strangers = [user for user in users if not user.has_account]
        self._next: Callable[[], None] = lambda: None
        self.under_way: set[Planned] = set()
        self.accepted: list[PlaceOrder] = []
        self.without_answer: list[Planned] = []
        self.late = array("d")
        self.took = {kind: array("d") for kind in Kind if kind not in ORDERS}

    async def by_plan(self, start: float) -> None:
        for after, kind in arrivals(self._parameters, self._planned):
            due = start + after
            # Whole milliseconds, which is how well the loop's timers tell the time.
            await asyncio.sleep(math.ceil(max(0.0, due - time.perf_counter()) * 1000) / 1000)
            self._send(kind, due)

    async def as_fast_as_possible(self, start: float) -> None:
        """Each answer makes room for the next request."""
        endless = kinds(self._parameters, self._planned)
        end = start + self._parameters.seconds

        def send_another() -> None:
            if (now := time.perf_counter()) < end:
                self._send(next(endless), now)

        self._next = send_another
        for _ in range(self._parameters.in_flight):
            send_another()
        await asyncio.sleep(end - time.perf_counter())

    def _send(self, kind: Kind, due: float) -> None:
        call = self._call(kind)
        call.due, call.finished = due, self._finished
        self.under_way.add(call)
        call.user.entrance.pool.send(call)

    def _call(self, kind: Kind) -> Planned:
        chance = self._planned
        match kind:
            case Kind.PAID | Kind.TOO_EXPENSIVE:
                return self._order(kind, chance.choice(self._customers))
            case Kind.NO_ACCOUNT:
                return self._order(kind, chance.choice(self._strangers))
            case Kind.TOP_UP:
                return TopUpCall(chance.choice(self._customers), chance.randint(*PRICES))
            case Kind.SHOW_ORDER if self.accepted:
                return ShowOrder(self._unplanned.choice(self.accepted))
            case Kind.SHOW_ORDER:
                return ListOrders(self._unplanned.choice(self._customers))
            case Kind.LIST_ORDERS:
                return ListOrders(chance.choice(self._customers))
            case Kind.SHOW_BALANCE:
                return ShowBalance(chance.choice(self._customers))

    def _order(self, kind: Kind, user: User) -> PlaceOrder:
        return PlaceOrder(kind, user, self._planned.randint(*PRICES))

    def _finished(self, call: Planned, status: int, body: bytes) -> None:
        if call not in self.under_way:
            return  # it was given up
        self.under_way.remove(call)
        if call.sent:
            self.late.append(call.sent - call.due)
        if status == call.good:
            self.taken(call, body)
        else:
            self._failed(call, status, body)
        if not isinstance(call, PlaceOrder):
            self.took[call.kind].append(call.done - call.due)
        self._next()

    def give_up(self) -> None:
        """Whatever has no answer yet gets none."""
        while self.under_way:
            self._failed(self.under_way.pop(), 0, b"no answer in time")

    def taken(self, call: Planned, body: bytes) -> None:
        try:
            right = call.take(body)
        except msgspec.DecodeError:
            right = False
        if isinstance(call, PlaceOrder) and call.id:
            self.accepted.append(call)
            call.user.placed += 1
        if right:
            self._answers.good()
        else:
            self._answers.wrong(call.kind, call.user.id, call.request, call.good, body)

    def _failed(self, call: Planned, status: int, body: bytes) -> None:
        self._answers.failed(call.kind, call.user.id, call.request, status, body)
        if isinstance(call, PlaceOrder | TopUpCall):
            self.without_answer.append(call)
