"""Sends what the schedule says when it says so, and keeps what came of it."""

import asyncio
import math
import random
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from loadtest.load.calls import ListOrders, PlaceOrder, Planned, ShowBalance, ShowOrder, TopUp
from loadtest.load.checks import Verdict
from loadtest.load.parameters import Parameters
from loadtest.load.schedule import ORDERS, Kind, arrivals, kinds
from loadtest.load.users import User

PRICES = 100, 999


class Traffic:
    def __init__(self, parameters: Parameters, users: Sequence[User], chance: random.Random) -> None:
        self._parameters = parameters
        self._chance = chance
        self._customers = [user for user in users if user.has_account]
        self._strangers = [user for user in users if not user.has_account]
        self._next: Callable[[], None] = lambda: None
        self.under_way: set[Planned] = set()
        self.accepted: list[PlaceOrder] = []
        self.without_answer: list[Planned] = []
        self.errors: Counter[str] = Counter()
        self.late = array("d")
        self.took = {kind: array("d") for kind in Kind if kind not in ORDERS}
        self.answers = Verdict("answers", "Every request was answered, as it should be.")

    async def by_plan(self, start: float) -> None:
        for after, kind in arrivals(self._parameters, self._chance):
            due = start + after
            # Whole milliseconds, which is how well the loop's timers tell the time.
            await asyncio.sleep(math.ceil(max(0.0, due - time.perf_counter()) * 1000) / 1000)
            self._send(kind, due)

    async def as_fast_as_possible(self, start: float) -> None:
        """Each answer makes room for the next request."""
        endless = kinds(self._parameters, self._chance)
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
        chance = self._chance
        match kind:
            case Kind.PAID | Kind.TOO_EXPENSIVE:
                return self._order(kind, chance.choice(self._customers))
            case Kind.NO_ACCOUNT:
                return self._order(kind, chance.choice(self._strangers))
            case Kind.TOP_UP:
                return TopUp(chance.choice(self._customers), chance.randint(*PRICES))
            case Kind.SHOW_ORDER if self.accepted:
                return ShowOrder(chance.choice(self.accepted))
            case Kind.SHOW_BALANCE:
                return ShowBalance(chance.choice(self._customers))
            case _:
                return ListOrders(chance.choice(self._customers))

    def _order(self, kind: Kind, user: User) -> PlaceOrder:
        return PlaceOrder(kind, user, self._chance.randint(*PRICES))

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
        self.answers.look(1, () if right else [self._offence(call, call.good, body)])

    def _failed(self, call: Planned, status: int, body: bytes) -> None:
        why = str(status or body.decode())
        self.errors[f"{call.kind}: {why}"] += 1
        self.answers.look(1, [self._offence(call, status, body)])
        if isinstance(call, PlaceOrder | TopUp):
            self.without_answer.append(call)

    @staticmethod
    def _offence(call: Planned, status: int, body: bytes) -> dict[str, object]:
        line, _, _ = call.request.partition(b" HTTP/1.1")
        answer = body[:300].decode(errors="replace")
        return {"user": call.user.id, "request": line.decode(), "status": status, "answer": answer}
