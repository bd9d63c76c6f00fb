"""What is looked up past the front door, where a test has put something into databases of its own."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from loadtest.load.checks import CheckResult
from loadtest.load.local import LocalShop
from loadtest.load.parameters import Failed
from loadtest.load.soak import FILES, KEYS, MEMORY, TASKS, Soak
from loadtest.load.stores import Stores
from shopkit.db.database import Database
from tests.auditor.planting import order
from tests.servers import rows
from tests.support import free_port


class Attended(LocalShop):
    """What an audit finds is done as soon as it has looked."""

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
    """The running shop with some parts that are `others`."""
    (folder / "shop.json").write_text(json.dumps(servers | others))
    return LocalShop(str(folder))


@pytest.fixture
def local(servers: dict[str, Any], orders_url: str, payments_url: str, tmp_path: Path) -> LocalShop:
    """With databases of this test."""
    return shop_of(tmp_path, servers, databases={"orders": orders_url, "payments": payments_url})


def test_a_shop_that_was_stopped_is_no_shop(servers: dict[str, Any], tmp_path: Path) -> None:
    conf = tmp_path / "supervisord.conf"
    conf.write_text(f"[unix_http_server]\nfile = {tmp_path / 'supervisor.sock'}\n")
    with pytest.raises(Failed, match=r"no shop runs in .*; make up starts one"):
        shop_of(tmp_path, servers, supervisor=str(conf))


def test_a_folder_without_a_shop_is_no_shop(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no shop runs in"):
        LocalShop(str(tmp_path))


async def test_what_a_load_left_undone_is_named_before_the_auditors_own_grace_is_over(
    local: LocalShop, orders_database: Database
) -> None:
    for _ in range(25):
        await rows(orders_database, order("NEW", 1, age="5 seconds"))
    verdict = await local.audit(patience=0.5)
    assert {row["invariant"] for row in verdict.rows} == {"no-order-left-new"}
    assert verdict.offenders == 25, "all are counted, though only the first are shown"


async def test_what_is_done_while_the_audit_is_patient_is_no_offence(
    local: LocalShop, orders_database: Database
) -> None:
    await rows(orders_database, order("NEW", 1, age="5 seconds"))
    attended = Attended(local.folder, orders_database)
    verdict = await attended.audit(patience=60)
    assert attended.found == [1, 0]
    assert not verdict.offenders


async def test_what_was_set_aside_in_the_database_or_in_the_broker_is_counted(
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


async def test_a_queue_that_rabbitmq_has_not_counted_yet_is_waited_for(
    local: LocalShop, session: aiohttp.ClientSession
) -> None:
    """As all queues of a shop that has just been started are."""
    name = f"test-{uuid4().hex}"
    queue = f"{local.broker_management}/api/queues/%2F/{name}"
    quorum = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
    stores = await Stores.of(local)
    async with session.put(queue, json=quorum, raise_for_status=True):
        queues = await stores.queues()
    async with session.delete(queue, raise_for_status=True):
        await stores.close()
    assert queues[name] == 0


async def test_what_cannot_be_read_is_not_measured_rather_than_nothing(
    servers: dict[str, Any], orders_url: str, payments_url: str, tmp_path: Path
) -> None:
    """One replica is not there, nor is Redis, nor one of the programs."""
    gone = {"name": "orders-9", "url": f"http://127.0.0.1:{free_port()}"}
    replicas = servers["replicas"] | {"orders": [*servers["replicas"]["orders"], gone]}
    local = shop_of(
        tmp_path,
        servers,
        databases=servers["databases"] | {"orders": orders_url, "payments": payments_url},
        redis=f"redis://127.0.0.1:{free_port()}/0",
        replicas=replicas,
    )
    stores = await Stores.of(local)
    watch = Soak(stores, every=60)
    await watch.look(await local.programs() | {"nobody": 2**22 + 1})
    await stores.close()
    verdict = watch.measured()
    assert {(row["what"], row["name"]) for row in verdict.rows} == {
        (MEMORY, "nobody"),
        (FILES, "nobody"),
        (TASKS, "orders-9"),
        (KEYS, "ConnectionError"),
    }
    series = {(one.what, one.name): one.values for one in watch.series()}
    assert (TASKS, "orders-9") not in series
    assert series[TASKS, "orders-1"][0] > 0
    assert series[MEMORY, "postgres"][0] > 0
