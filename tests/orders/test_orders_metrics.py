import aiohttp

from shopkit.db.database import Database
from tests.servers import rows
from tests.support import Caller, Replica


async def test_a_replica_tells_what_waits_in_its_database(
    buyer: Caller, replica: Replica, shelf: Database, session: aiohttp.ClientSession
) -> None:
    await buyer.order(500)
    (row,) = await rows(shelf, "SELECT count(*) AS waiting FROM outbox")
    assert await replica.metric(session, "gozon_outbox_waiting") == row.waiting > 0
    assert await replica.metric(session, "gozon_outbox_oldest_seconds") > 0
    assert await replica.metric(session, "gozon_orders_accepted_total") > 0
