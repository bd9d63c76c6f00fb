"""The reading of a local shop's databases, queues and replicas. Tests fill databases of their own."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from loadtest.load.checks import CheckResult
from loadtest.load.local_shop import LocalShop
from loadtest.load.parameters import LoadError
from loadtest.load.soak import FILES, KEYS, MEMORY, TASKS, SoakWatch
from loadtest.load.stores import Stores
from shopkit.db.database import Database
from tests.auditor.planting import order
from tests.servers import rows
from tests.support import free_port


class ShopRepairedByAudit(LocalShop):
    """A shop whose offending orders are deleted after each audit."""

    def __init__(self, folder: str, orders: Database) -> None:
        super().__init__(folder)
        self._orders = orders
        self.found: list[int] = []

    async def _audit(self) -> CheckResult:
        verdict = await super()._audit()
        self.found.append(verdict.offenders)
        await rows(self._orders, "DELETE FROM orders")
        return verdict


def shop_of(folder: Path, servers: dict[str, Any], **others: Any) -> LocalShop:
    """Returns the running shop with some entries of its shop.json replaced by `others`."""
    (folder / "shop.json").write_text(json.dumps(servers | others))
    return LocalShop(str(folder))


@pytest.fixture
def local(servers: dict[str, Any], orders_url: str, payments_url: str, tmp_path: Path) -> LocalShop:
    """The running shop with this test's own databases."""
    return shop_of(tmp_path, servers, databases={"orders": orders_url, "payments": payments_url})


def test_a_stopped_shop_is_reported_as_not_running(servers: dict[str, Any], tmp_path: Path) -> None:
    conf = tmp_path / "supervisord.conf"
    conf.write_text(f"[unix_http_server]\nfile = {tmp_path / 'supervisor.sock'}\n")
    with pytest.raises(LoadError, match=r"no shop runs in .*: start one with make up"):
        shop_of(tmp_path, servers, supervisor=str(conf))


def test_a_folder_without_a_shop_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no shop runs in"):
        LocalShop(str(tmp_path))


async def test_an_unfinished_order_is_named_before_the_auditors_default_grace_ends(
    local: LocalShop, orders_database: Database
) -> None:
    for _ in range(25):
        await rows(orders_database, order("NEW", 1, age="5 seconds"))
    verdict = await local.audit(patience=0.5)
    assert {row["invariant"] for row in verdict.rows} == {"no-order-left-new"}
    assert verdict.offenders == 25, "all are counted, but only the first are listed"


async def test_an_order_that_finishes_while_the_audit_is_repeated_is_no_offence(
    local: LocalShop, orders_database: Database
) -> None:
    await rows(orders_database, order("NEW", 1, age="5 seconds"))
    repaired = ShopRepairedByAudit(local.folder, orders_database)
    verdict = await repaired.audit(patience=60)
    assert repaired.found == [1, 0]
    assert not verdict.offenders


async def test_dead_letters_in_the_database_and_in_the_broker_are_counted(
    local: LocalShop, payments_database: Database
) -> None:
    await rows(
        payments_database,
        """
        INSERT INTO dead_letters (event_id, type, event, error, attempts)
        VALUES (gen_random_uuid(), 'order.created', '', 'broken', 5)
        """,
    )
    stores = await Stores.of(local)
    letters, queues = await stores.dead_letters(), await stores.queues()
    await stores.close()
    assert letters["payments dead_letters"] == 1
    assert {"payments.order-created.dead", "notifier.order-status.dead"} <= letters.keys()
    assert {"payments.order-created", "notifier.order-status"} <= queues.keys()
    assert not letters.keys() & queues.keys()


async def test_reading_queues_waits_until_rabbitmq_has_counted_a_new_queue(
    local: LocalShop, session: aiohttp.ClientSession
) -> None:
    """All queues of a newly started shop are new."""
    name = f"test-{uuid4().hex}"
    queue = f"{local.broker_management}/api/queues/%2F/{name}"
    quorum = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
    stores = await Stores.of(local)
    async with session.put(queue, json=quorum, raise_for_status=True):
        queues = await stores.queues()
    async with session.delete(queue, raise_for_status=True):
        await stores.close()
    assert queues[name] == 0


async def test_an_unreadable_value_is_reported_and_not_taken_for_zero(
    servers: dict[str, Any], orders_url: str, payments_url: str, tmp_path: Path
) -> None:
    """One replica, Redis and one of the programs are unavailable."""
    missing = {"name": "orders-9", "url": f"http://127.0.0.1:{free_port()}"}
    replicas = servers["replicas"] | {"orders": [*servers["replicas"]["orders"], missing]}
    local = shop_of(
        tmp_path,
        servers,
        databases=servers["databases"] | {"orders": orders_url, "payments": payments_url},
        redis=f"redis://127.0.0.1:{free_port()}/0",
        replicas=replicas,
    )
    stores = await Stores.of(local)
    watch = SoakWatch(stores, every=60)
    await watch.sample(await local.programs() | {"ended": 2**22 + 1})
    await stores.close()
    verdict = watch.everything_measured()
    assert {(row["what"], row["name"]) for row in verdict.rows} == {
        (MEMORY, "ended"),
        (FILES, "ended"),
        (TASKS, "orders-9"),
        (KEYS, "ConnectionError"),
    }
    series = {(one.what, one.name): one.values for one in watch.series()}
    assert (TASKS, "orders-9") not in series
    assert series[TASKS, "orders-1"][0] > 0
    assert series[MEMORY, "postgres"][0] > 0
