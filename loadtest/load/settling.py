"""After the load: what became of requests without an answer, and what the shop says of every user."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec

from loadtest.load.calls import ORDERS, PlaceOrder, Planned
from loadtest.load.checks import CheckResult
from loadtest.load.history import History, OrderHistory
from loadtest.load.parameters import Failed
from loadtest.load.traffic import Traffic
from loadtest.load.users import ACCOUNT, User

AT_ONCE = 32
AGAIN = 5
PAUSE_SECONDS = 1.0
SETTLING = "settling"

T = TypeVar("T")


class _Page(msgspec.Struct):
    items: list[OrderHistory]
    next_cursor: str | None


_page = msgspec.json.Decoder(_Page).decode


async def each(things: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Some at a time."""
    todo = iter(things)

    async def some() -> None:
        for thing in todo:
            await work(thing)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def send_again(traffic: Traffic, until: float) -> None:
    """As a client does that got no answer; the keys see to it that nothing takes effect twice."""

    async def again(call: Planned) -> None:
        for _ in range(AGAIN):
            answer = await call.user.entrance.ask(call.request, until)
            if answer.status == call.good:
                traffic.taken(call, answer.body)
                return
            if time.perf_counter() + PAUSE_SECONDS >= until:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    await each(traffic.without_answer, again)


def sockets_held(users: Sequence[User]) -> tuple[CheckResult, Counter[str]]:
    """And why those that did not were lost, as errors."""
    lost = [
        {"user": user.id, "socket": number, "why": page.why_lost}
        for user in users
        for number, page in enumerate(user.pages)
        if page.why_lost
    ]
    verdict = CheckResult("sockets", "Every socket stayed open.")
    verdict.look(sum(len(user.pages) for user in users), lost)
    return verdict, Counter(f"socket: {row['why']}" for row in lost)


async def histories(users: Sequence[User], accepted: Sequence[PlaceOrder], until: float) -> list[History]:
    """Of all users of whom the shop says anything; it is asked again until then."""
    placed: defaultdict[User, list[OrderHistory]] = defaultdict(list)
    for order in accepted:
        placed[order.user].append(order.end())
    found: list[History] = []

    async def learn(user: User) -> None:
        with suppress(Failed):  # it is among the errors, and of this user nothing can be judged
            found.append(await _history(user, placed[user], until))

    await each(users, learn)
    return found


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
    entrance, items, cursor = user.entrance, list[OrderHistory](), ""
    while True:
        request = entrance.get(f"{ORDERS}?limit=100{cursor}", user.id)
        page = _page((await entrance.insist(SETTLING, user.id, 200, request=request, until=until)).body)
        items += page.items
        if page.next_cursor is None:
            return items
        cursor = f"&cursor={page.next_cursor}"


async def _balance(user: User, until: float) -> int | None:
    request = user.entrance.get(ACCOUNT, user.id)
    answer = await user.entrance.insist(SETTLING, user.id, 200, 404, request=request, until=until)
    return msgspec.json.decode(answer.body)["balance"] if answer.status == 200 else None
