"""Sends the requests of the schedule at their times, and keeps their outcomes."""

import asyncio
import math
import random
import time
from array import array
from collections.abc import Callable, Sequence

import msgspec

from loadtest.load.calls import ListOrders, PlaceOrder, PlannedCall, ShowBalance, ShowOrder, TopUpCall
from loadtest.load.parameters import Parameters
from loadtest.load.responses import ResponseChecks
from loadtest.load.schedule import ORDERS, Kind, arrivals, kinds
from loadtest.load.users import User

# The range of the amounts of paid orders and top-ups, in kopecks.
PRICES = 100, 999


class Traffic:
    """The requests of one process of the generator, and their outcomes.

    The same `seed` gives the same plan, because the draws of `_plan_random` do not depend on responses. Choices
    that depend on responses use `_response_random`.
    """

    def __init__(self, parameters: Parameters, users: Sequence[User], seed: str, responses: ResponseChecks) -> None:
        self._parameters = parameters
        self._responses = responses
        self._plan_random = random.Random(f"{seed} plan")
        self._response_random = random.Random(f"{seed} what was accepted")
        self._customers = [user for user in users if user.has_account]
        self._without_account = [user for user in users if not user.has_account]
        self._send_next: Callable[[], None] = lambda: None
        self.in_flight: set[PlannedCall] = set()
        self.accepted: list[PlaceOrder] = []
        self.unanswered: list[PlannedCall] = []
        self.send_delays = array("d")
        self.durations = {kind: array("d") for kind in Kind if kind not in ORDERS}

    async def send_by_plan(self, start: float) -> None:
        for after, kind in arrivals(self._parameters, self._plan_random):
            due = start + after
            # Rounded up to whole milliseconds, which is the resolution of the event loop's timers.
            await asyncio.sleep(math.ceil(max(0.0, due - time.perf_counter()) * 1000) / 1000)
            self._send(kind, due)

    async def send_as_fast_as_possible(self, start: float) -> None:
        """Sends the next request after each response, so that `parameters.in_flight` requests are in flight."""
        endless = kinds(self._parameters, self._plan_random)
        end = start + self._parameters.seconds

        def send_another() -> None:
            if (now := time.perf_counter()) < end:
                self._send(next(endless), now)

        self._send_next = send_another
        for _ in range(self._parameters.in_flight):
            send_another()
        await asyncio.sleep(end - time.perf_counter())

    def _send(self, kind: Kind, due: float) -> None:
        call = self._call(kind)
        call.due, call.on_finished = due, self._on_finished
        self.in_flight.add(call)
        call.user.target.pool.send(call)

    def _call(self, kind: Kind) -> PlannedCall:
        chance = self._plan_random
        match kind:
            case Kind.PAID | Kind.TOO_EXPENSIVE:
                return self._order(kind, chance.choice(self._customers))
            case Kind.NO_ACCOUNT:
                return self._order(kind, chance.choice(self._without_account))
            case Kind.TOP_UP:
                return TopUpCall(chance.choice(self._customers), chance.randint(*PRICES))
            case Kind.SHOW_ORDER if self.accepted:
                return ShowOrder(self._response_random.choice(self.accepted))
            case Kind.SHOW_ORDER:
                return ListOrders(self._response_random.choice(self._customers))
            case Kind.LIST_ORDERS:
                return ListOrders(chance.choice(self._customers))
            case Kind.SHOW_BALANCE:
                return ShowBalance(chance.choice(self._customers))

    def _order(self, kind: Kind, user: User) -> PlaceOrder:
        return PlaceOrder(kind, user, self._plan_random.randint(*PRICES))

    def _on_finished(self, call: PlannedCall, status: int, body: bytes) -> None:
        if call not in self.in_flight:
            return  # `give_up` has already counted it as failed
        self.in_flight.remove(call)
        if call.sent:
            self.send_delays.append(call.sent - call.due)
        if status == call.expected_status:
            self.on_expected_status(call, body)
        else:
            self._on_failed(call, status, body)
        if not isinstance(call, PlaceOrder):
            self.durations[call.kind].append(call.done - call.due)
        self._send_next()

    def give_up(self) -> None:
        """Counts every request without a response as failed."""
        while self.in_flight:
            self._on_failed(self.in_flight.pop(), 0, b"no answer in time")

    def on_expected_status(self, call: PlannedCall, body: bytes) -> None:
        try:
            right = call.check_body(body)
        except msgspec.DecodeError:
            right = False
        if isinstance(call, PlaceOrder) and call.id:
            self.accepted.append(call)
            call.user.placed += 1
        if right:
            self._responses.passed()
        else:
            self._responses.wrong_body(call.kind, call.user.id, call.request, call.expected_status, body)

    def _on_failed(self, call: PlannedCall, status: int, body: bytes) -> None:
        self._responses.failed(call.kind, call.user.id, call.request, status, body)
        if isinstance(call, PlaceOrder | TopUpCall):
            self.unanswered.append(call)
