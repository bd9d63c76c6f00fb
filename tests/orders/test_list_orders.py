import asyncio
from typing import Any
from uuid import uuid4

import pytest

from shopkit.db.database import Database
from tests.servers import rows
from tests.support import Caller


async def listed(buyer: Caller, query: str = "") -> tuple[list[str], str | None]:
    answer = await buyer.call("GET", f"/api/orders{query}")
    assert answer.status == 200, answer
    return [item["id"] for item in answer.body["items"]], answer.body["next_cursor"]


async def all_pages(buyer: Caller, limit: int, filters: str = "") -> list[list[str]]:
    pages: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        at = f"&cursor={cursor}" if cursor else ""
        ids, cursor = await listed(buyer, f"?limit={limit}{at}{filters}")
        pages.append(ids)
        assert len(pages) < 20, "pages without end"
    return pages


def joined(pages: list[list[str]]) -> list[str]:
    return [order_id for page in pages for order_id in page]


async def placed(buyer: Caller, count: int) -> list[str]:
    """Places orders and returns their ids, newest first."""
    return [await buyer.order(n + 1) for n in range(count)][::-1]


async def test_a_user_without_orders_gets_an_empty_page(buyer: Caller) -> None:
    assert await listed(buyer) == ([], None)


async def test_orders_are_listed_newest_first_with_the_fields_of_a_single_order(buyer: Caller) -> None:
    ids = await placed(buyer, 3)
    answer = await buyer.call("GET", "/api/orders")
    assert [item["id"] for item in answer.body["items"]] == ids
    shown = [(await buyer.call("GET", f"/api/orders/{id_}")).body for id_ in ids]
    assert [
        item | {"journey": order["journey"]} for item, order in zip(answer.body["items"], shown, strict=True)
    ] == shown


@pytest.mark.parametrize("limit", [1, 3, 4, 7, 8, 100])
async def test_each_order_is_on_exactly_one_page(buyer: Caller, limit: int) -> None:
    ids = await placed(buyer, 8)
    pages = await all_pages(buyer, limit)
    assert joined(pages) == ids
    assert {len(page) for page in pages[:-1]} <= {limit}
    assert pages[-1]


async def test_new_orders_do_not_change_the_next_page(buyer: Caller) -> None:
    ids = await placed(buyer, 4)
    first, cursor = await listed(buyer, "?limit=2")
    await placed(buyer, 3)
    assert first + (await listed(buyer, f"?cursor={cursor}"))[0] == ids


async def test_a_page_has_20_orders_by_default(buyer: Caller) -> None:
    await asyncio.gather(*(buyer.order(1) for _ in range(21)))
    ids, cursor = await listed(buyer)
    assert (len(ids), cursor) == (20, ids[-1])


async def test_the_status_filter_lists_only_orders_with_that_status(
    buyer: Caller, shared_database: Database
) -> None:
    ids = await placed(buyer, 6)
    for position, status in ((0, "FINISHED"), (2, "FINISHED"), (3, "CANCELLED")):
        await rows(
            shared_database,
            "UPDATE orders SET status = :status WHERE id::text = :id",
            status=status,
            id=ids[position],
        )
    assert joined(await all_pages(buyer, 1, "&status=FINISHED")) == [ids[0], ids[2]]
    assert await listed(buyer, "?status=CANCELLED") == ([ids[3]], None)
    assert joined(await all_pages(buyer, 2, "&status=NEW")) == [ids[1], ids[4], ids[5]]


async def test_users_see_only_their_own_orders(buyer: Caller) -> None:
    ids = await placed(buyer, 2)
    stranger = Caller(buyer.session, buyer.url)
    assert await listed(stranger) == ([], None)
    assert await listed(stranger, f"?cursor={ids[0]}") == ([], None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        (f"limit={10**30}", "limit"),
        ("cursor=yesterday", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=", "cursor"),
        ("status=PAID", "status"),
        ("status=new", "status"),
        ("status=", "status"),
        ("status=null", "status"),
        ("cursor=null", "cursor"),
        ("limit=1&status=NEW&limit=2", "limit"),
    ],
)
async def test_a_bad_query_is_refused_naming_the_parameter(buyer: Caller, query: str, field: str) -> None:
    answer = await buyer.call("GET", f"/api/orders?{query}")
    assert (answer.status, answer.fields()) == (400, {field})


@pytest.mark.parametrize("limit", [1, 100])
async def test_the_smallest_and_largest_limit_are_allowed(buyer: Caller, limit: int) -> None:
    assert await listed(buyer, f"?limit={limit}") == ([], None)


@pytest.mark.parametrize("headers", [{"X_User_Id": "a b"}, {"X_User_Id": ""}])
async def test_a_malformed_user_id_is_refused(buyer: Caller, headers: dict[str, Any]) -> None:
    answer = await buyer.call("GET", f"/api/orders?cursor={uuid4()}", **headers)
    assert (answer.status, answer.fields()) == (400, {"X-User-Id"})


async def test_options_and_405_list_every_method_of_the_path(buyer: Caller) -> None:
    options = await buyer.call("OPTIONS", "/api/orders")
    wrong = await buyer.call("DELETE", "/api/orders")
    assert (options.status, wrong.status, wrong.fields()) == (204, 405, set())
    for answer in (options, wrong):
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "OPTIONS", "POST"}
