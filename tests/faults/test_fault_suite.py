"""Runs a few faults of the fault suite on a separate shop. `make faults` runs all of them."""

from collections.abc import AsyncGenerator
from random import Random
from typing import Any

import pytest

from loadtest.faults.faults import FAULTS
from loadtest.faults.report import as_html, as_text
from loadtest.faults.server_faults import queue_deleted
from loadtest.faults.shop import ShopUnderFaults, running_shop
from loadtest.faults.stores import ROOT, BrokerObjectNotFound
from loadtest.faults.target import FaultNotInjected
from loadtest.faults.trial import Trial
from loadtest.faults.verdict import INVARIANTS
from shopkit.messaging.topology import Queue

SEED = 4
SHORT_PLAN = (
    "copy everything",
    "kill before-order-commit",
    "kill before-confirm",
    "kill before-charge-commit",
    "kill before-redis-publish",
    "lose commits of orders",
    "unroute notifier.order-status",
)


@pytest.fixture(autouse=True)
def healthy_shop() -> None:
    """Replaces the fixture of the package: these tests do not use its shop."""


@pytest.fixture(scope="module")
async def shop_under_faults(servers: dict[str, Any]) -> AsyncGenerator[ShopUnderFaults]:
    base_port = servers["base_port"] + 1000
    # Inside the repository: PostgreSQL's user cannot enter pytest's temporary folders.
    async with running_shop(ROOT / ".run" / "faults" / "test", base_port, entrance=base_port + 90) as shop:
        yield shop


@pytest.mark.timeout(600)
async def test_a_few_faults_break_no_invariant(shop_under_faults: ShopUnderFaults) -> None:
    outcome = await Trial(shop_under_faults, SEED).run([FAULTS[name] for name in SHORT_PLAN])
    assert (outcome.names, outcome.error) == ([], ""), as_text(outcome)
    assert outcome.judged == set(INVARIANTS) - {"sockets-paced"}
    assert outcome.orders > 100
    assert "unknown" in outcome.requests, "no request was interrupted by a fault"
    assert as_html(outcome).count("<td class=ok>ok") == len(SHORT_PLAN)


async def test_stopping_or_killing_a_stopped_server_raises(shop_under_faults: ShopUnderFaults) -> None:
    await shop_under_faults.stop("redis")
    for fault in (shop_under_faults.stop, shop_under_faults.kill):
        with pytest.raises(FaultNotInjected):
            await fault("redis")
    await shop_under_faults.supervisorctl("start", "redis")


async def test_deleting_a_missing_queue_raises(shop_under_faults: ShopUnderFaults) -> None:
    with pytest.raises(BrokerObjectNotFound):
        await queue_deleted(Queue("missing", ()), shop_under_faults, Random(1))  # noqa: S311
