"""The last test of a run: whatever the others did to the shop, its books are in order."""

import asyncio

from sqlalchemy import text

from auditor.snapshot import open_database
from tests.conftest import Shop
from tests.support import audited, eventually

IN_FLIGHT = {
    "orders": text("SELECT 1 FROM outbox UNION ALL SELECT 1 FROM orders WHERE status = 'NEW'"),
    "payments": text("SELECT 1 FROM outbox UNION ALL SELECT 1 FROM inbox WHERE processed_at IS NULL"),
}


async def test_the_books_are_in_order_after_all_other_tests(shop: Shop) -> None:
    urls = {name: str(shop.servers["databases"][name]) for name in IN_FLIGHT}

    async def at_rest(name: str) -> bool:
        async with open_database(name, urls[name]) as snapshot:
            return not await snapshot.rows(IN_FLIGHT[name], {})

    async def all_at_rest() -> bool:
        return all(await asyncio.gather(*map(at_rest, urls)))

    await eventually(all_at_rest)
    status, output, errors = await audited(
        "--grace", "0", ORDERS_DATABASE_URL=urls["orders"], PAYMENTS_DATABASE_URL=urls["payments"]
    )
    assert status == 0, output + errors
