import aiohttp

from shopkit.db.database import Database
from tests.servers import rows
from tests.support import Caller, Replica


async def test_metrics_report_the_waiting_outbox_rows(
    buyer: Caller, replica: Replica, shared_database: Database, session: aiohttp.ClientSession
) -> None:
    await buyer.order(500)
    (row,) = await rows(shared_database, "SELECT count(*) AS waiting FROM outbox")
    assert await replica.metric(session, "gozon_outbox_waiting") == row.waiting > 0
    assert await replica.metric(session, "gozon_outbox_oldest_seconds") > 0
    assert await replica.metric(session, "gozon_orders_accepted_total") > 0
