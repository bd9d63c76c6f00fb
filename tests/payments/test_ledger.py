from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from payments.charge_orders import ChargeOrders
from shopkit.db.database import Database
from shopkit.messaging.inbox_store import WaitingEvent
from tests.support import Caller

PATH = "/api/payments/account/entries"


async def pages(payer: Caller, limit: int) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    cursor = ""
    while True:
        answer = await payer.call("GET", f"{PATH}?limit={limit}{cursor}")
        assert answer.status == 200
        found.append(answer.body["items"])
        if answer.body["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer.body['next_cursor']}"


async def test_every_change_of_the_balance_is_an_entry_with_the_balance_after_it(
    payer: Caller, shared_database: Database
) -> None:
    await payer.open_account(1000)
    order_id = uuid4()
    event = (
        f'{{"specversion":"1.0","id":"{uuid4()}","source":"orders","type":"order.created","subject":"{order_id}",'
        f'"time":"2026-01-01T00:00:00Z","datacontenttype":"application/json",'
        f'"data":{{"order_id":"{order_id}","user_id":"{payer.user_id}","amount":400}}}}'
    )
    async with shared_database.begin() as connection:
        waiting = WaitingEvent(uuid4(), "order.created", event.encode(), datetime.now(UTC), "payments-1")
        await ChargeOrders("payments-1", lambda: None).charge(connection, [waiting])

    [[debit, top_up]] = await pages(payer, 20)

    assert (debit["kind"], debit["amount"], debit["order_id"]) == ("debit", -400, str(order_id))
    assert (debit["version"], debit["balance_after"]) == (2, 600)
    assert (top_up["kind"], top_up["amount"], top_up["version"], top_up["balance_after"]) == (
        "top_up",
        1000,
        1,
        1000,
    )
    assert "order_id" not in top_up


async def test_pages_hold_every_entry_once_newest_first(payer: Caller) -> None:
    await payer.open_account()
    for amount in range(1, 8):
        await payer.top_up(amount)
    found = await pages(payer, 3)
    assert [len(page) for page in found] == [3, 3, 1]
    assert [entry["version"] for page in found for entry in page] == [7, 6, 5, 4, 3, 2, 1]


async def test_an_empty_account_has_no_entries(payer: Caller) -> None:
    await payer.open_account()
    assert await pages(payer, 1) == [[]]


async def test_one_sees_only_ones_own_entries(payer: Caller) -> None:
    other = Caller(payer.session, payer.url)
    await other.open_account(500)
    await payer.open_account()
    assert await pages(payer, 20) == [[]]


async def test_without_an_account_there_is_no_ledger(payer: Caller) -> None:
    assert (await payer.call("GET", PATH)).status == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("cursor=0", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=null", "cursor"),
        ("limit=1&limit=1", "limit"),
        (f"cursor={2**63}", "cursor"),
    ],
)
async def test_a_wrong_limit_or_cursor_is_named(payer: Caller, query: str, field: str) -> None:
    await payer.open_account()
    answer = await payer.call("GET", f"{PATH}?{query}")
    assert (answer.status, answer.fields()) == (400, {field})
