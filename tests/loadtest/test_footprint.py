"""The measurement of an order's costs, and the parser of PostgreSQL's log of a WAL replay."""

from pathlib import Path

from loadtest.load import wal_replay
from loadtest.load.footprint import Meter
from loadtest.load.local_shop import LocalShop
from loadtest.load.stores import Stores
from tests.conftest import Shop
from tests.support import Caller

LOG = """
[71] LOG:  redo starts at 0/FF000000
[71] LOG:  invalid record length at 1/1000028: wanted 24, got 0
[71] LOG:  redo done at 1/1000000 system usage: CPU: user: 0.40 s, system: 0.10 s, elapsed: 1.25 s
"""


async def test_the_meter_measures_the_data_of_one_order(shop: Shop, caller: Caller) -> None:
    local = LocalShop(str(Path(shop.servers["supervisor"]).parent))
    stores = await Stores.of(local)
    meter = Meter(local, stores)
    before = await meter.read()
    await caller.open_account(100)
    order_id = await caller.order(100)
    await caller.decided(order_id)
    took = {name: value - before.get(name, 0.0) for name, value in (await meter.read()).items()}
    assert took["messages"] >= 3
    assert took["wal"] > 1000
    assert took["sum orders"] == took["count orders"] == 1
    assert took["sum inbox"] == 1
    assert await meter.mark_bytes() > 0
    await meter.close()
    await stores.close()


def test_the_replay_rate_is_read_from_the_log() -> None:
    assert wal_replay.replay_rate(LOG) == 0x2000000 / 0.5
    assert wal_replay.replay_rate(LOG.replace("0.40", "0.00").replace("0.10", "0.00")) == 0
    assert wal_replay.replay_rate("LOG:  redo is not required") == 0
