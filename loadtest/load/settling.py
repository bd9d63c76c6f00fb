"""The steps after the load: repeats requests without a response, and reads every user's orders and balance."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec

from loadtest.load.calls import ORDERS, PlaceOrder, PlannedCall
from loadtest.load.checks import CheckResult
from loadtest.load.history import History, OrderHistory
from loadtest.load.parameters import LoadError
from loadtest.load.traffic import Traffic
from loadtest.load.users import ACCOUNT, User

CONCURRENCY = 32
ATTEMPTS = 5
PAUSE_SECONDS = 1.0
SETTLING = "settling"

T = TypeVar("T")


class _Page(msgspec.Struct):
    items: list[OrderHistory]
    next_cursor: str | None


_page = msgspec.json.Decoder(_Page).decode


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Awaits `work` for each item, with at most CONCURRENCY items in work at a time."""
    remaining = iter(items)

    async def work_through() -> None:
        for item in remaining:
            await work(item)

    await asyncio.gather(*(work_through() for _ in range(CONCURRENCY)))


async def repeat_unanswered(traffic: Traffic, until: float) -> None:
    """Repeats the orders and top-ups without a response. Their idempotency keys prevent a second effect."""

    async def repeat(call: PlannedCall) -> None:
        for _ in range(ATTEMPTS):
            response = await call.user.target.ask(call.request, until)
            if response.status == call.expected_status:
                traffic.on_expected_status(call, response.body)
                return
            if time.perf_counter() + PAUSE_SECONDS >= until:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    await for_each(traffic.unanswered, repeat)


def check_sockets(users: Sequence[User]) -> tuple[CheckResult, Counter[str]]:
    """Returns the verdict that every socket stayed open, and the reasons of lost sockets as errors."""
    lost = [
        {"user": user.id, "socket": number, "why": page.why_lost}
        for user in users
        for number, page in enumerate(user.pages)
        if page.why_lost
    ]
    verdict = CheckResult("sockets", "Every socket stayed open.")
    verdict.record(sum(len(user.pages) for user in users), lost)
    return verdict, Counter(f"socket: {row['why']}" for row in lost)


async def histories(users: Sequence[User], accepted: Sequence[PlaceOrder], until: float) -> list[History]:
    """Returns the histories of all users whose orders and balance could be read before the time `until`."""
    placed: defaultdict[User, list[OrderHistory]] = defaultdict(list)
    for order in accepted:
        placed[order.user].append(order.expected_end())
    read: list[History] = []

    async def read_history(user: User) -> None:
        with suppress(LoadError):  # `ask_until` has counted the error, and this user cannot be checked
            read.append(await _history(user, placed[user], until))

    await for_each(users, read_history)
    return read


async def _history(user: User, placed: Sequence[OrderHistory], until: float) -> History:
    return History(
        user_id=user.id,
        placed=placed,
        pages=[page.toasts for page in user.pages],
        listed=await _listed(user, until),
        topped_up=user.topped_up if user.has_account else None,
        balance=await _balance(user, until),
    )


async def _listed(user: User, until: float) -> list[OrderHistory]:
    target, items, cursor = user.target, list[OrderHistory](), ""
    while True:
        request = target.get(f"{ORDERS}?limit=100{cursor}", user.id)
        page = _page((await target.ask_until(SETTLING, user.id, 200, request=request, until=until)).body)
        items += page.items
        if page.next_cursor is None:
            return items
        cursor = f"&cursor={page.next_cursor}"


async def _balance(user: User, until: float) -> int | None:
    request = user.target.get(ACCOUNT, user.id)
    response = await user.target.ask_until(SETTLING, user.id, 200, 404, request=request, until=until)
    return msgspec.json.decode(response.body)["balance"] if response.status == 200 else None
