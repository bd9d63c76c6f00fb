import asyncio

from auditor.audit import audit
from auditor.invariants import Limits
from auditor.report import all_hold, as_text
from orders.place_order import NewOrder
from tests.auditor.conftest import Books
from tests.servers import rows
from tests.support import eventually

AUDITS = 10


async def test_a_running_shop_satisfies_every_invariant_at_any_time(books: Books) -> None:
    users = [f"user-{n}" for n in range(4)]
    for user_id in users[1:]:
        await books.open(user_id, 1_000)
    done = asyncio.Event()

    async def buy() -> None:
        while not done.is_set():
            await books.place(*(NewOrder(user_id, 70, "a lamp") for user_id in users))

    async def top_up() -> None:
        while not done.is_set():
            await books.top_up(users[1], 10)

    async def settle() -> None:
        while not done.is_set():
            await books.settle()

    at_work = [asyncio.create_task(work()) for work in (buy, buy, top_up, settle, settle)]
    orders, payments = books.urls
    waiting, decided = list[int](), list[int]()

    async def more_is_decided() -> bool:
        [row] = await rows(books.payments, "SELECT count(*) FROM payments")
        return not decided or row.count > decided[-1]

    while len(decided) < AUDITS:
        await eventually(more_is_decided)
        findings = await audit(orders, payments, Limits(grace=20))
        assert all_hold(findings), as_text(findings)
        looked_at = {finding.invariant.name: finding.looked_at for finding in findings}
        waiting.append(looked_at["no-order-left-new"])
        decided.append(looked_at["known-outcome"])
    done.set()
    await asyncio.gather(*at_work)
    assert any(waiting)
    assert len(set(decided)) == AUDITS

    while await books.settle():
        pass
    findings = await audit(orders, payments, Limits(grace=0))
    assert all_hold(findings), as_text(findings)
