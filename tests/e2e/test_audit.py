"""Audits the shop after all other tests. pytest runs this test last (tests/conftest.py)."""

import asyncio

from sqlalchemy import text

from auditor.snapshot import open_database
from tests.conftest import Shop
from tests.support import audited, eventually

IN_FLIGHT = {
    "orders": text("SELECT 1 FROM outbox UNION ALL SELECT 1 FROM orders WHERE status = 'NEW'"),
    "payments": text("SELECT 1 FROM outbox UNION ALL SELECT 1 FROM inbox WHERE processed_at IS NULL"),
}


async def test_the_audit_finds_no_error_after_all_other_tests(shop: Shop) -> None:
    urls = {name: str(shop.servers["databases"][name]) for name in IN_FLIGHT}

    async def nothing_in_flight(name: str) -> bool:
        async with open_database(name, urls[name]) as snapshot:
            return not await snapshot.rows(IN_FLIGHT[name], {})

    async def all_done() -> bool:
        return all(await asyncio.gather(*map(nothing_in_flight, urls)))

    await eventually(all_done)
    status, output, errors = await audited(
        "--grace", "0", ORDERS_DATABASE_URL=urls["orders"], PAYMENTS_DATABASE_URL=urls["payments"]
    )
    assert status == 0, output + errors
