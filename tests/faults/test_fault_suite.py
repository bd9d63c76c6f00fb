"""The fault suite in short, on a shop of its own; `make faults` is the long one."""

from collections.abc import AsyncGenerator
from random import Random
from typing import Any

import pytest

from loadtest.faults.contents import ROOT, NotThere
from loadtest.faults.faults import FAULTS
from loadtest.faults.place import NotHappened
from loadtest.faults.report import page, words
from loadtest.faults.shop import ShopUnderFaults, a_shop
from loadtest.faults.to_servers import queue_deleted
from loadtest.faults.trial import Trial
from loadtest.faults.verdict import INVARIANTS
from shopkit.messaging.topology import Queue

SEED = 4
SHORT = (
    "copy everything",
    "kill before-order-commit",
    "kill before-confirm",
    "kill before-charge-commit",
    "kill before-redis-publish",
    "lose commits of orders",
    "unroute notifier.order-status",
)


@pytest.fixture(autouse=True)
def whole_again() -> None:
    """The shop of the other tests is left alone."""


@pytest.fixture(scope="module")
async def fragile_shop(servers: dict[str, Any]) -> AsyncGenerator[ShopUnderFaults]:
    base_port = servers["base_port"] + 1000
    # Under the repository: PostgreSQL must not run below pytest's closed folder.
    async with a_shop(ROOT / ".run" / "faults" / "test", base_port, entrance=base_port + 90) as shop:
        yield shop


@pytest.mark.timeout(600)
async def test_a_short_bad_day_breaks_no_promise(fragile_shop: ShopUnderFaults) -> None:
    outcome = await Trial(fragile_shop, SEED).run([FAULTS[name] for name in SHORT])
    assert (outcome.names, outcome.error) == ([], ""), words(outcome)
    assert outcome.judged == set(INVARIANTS) - {"sockets-paced"}
    assert outcome.orders > 100
    assert "unknown" in outcome.requests, "no request was ever in danger"
    assert page(outcome).count("<td class=ok>ok") == len(SHORT)


async def test_what_does_not_run_cannot_be_stopped_or_killed(fragile_shop: ShopUnderFaults) -> None:
    await fragile_shop.stop("redis")
    for does in (fragile_shop.stop, fragile_shop.kill):
        with pytest.raises(NotHappened):
            await does("redis")
    await fragile_shop.supervisorctl("start", "redis")


async def test_a_queue_that_is_not_there_cannot_be_deleted(fragile_shop: ShopUnderFaults) -> None:
    with pytest.raises(NotThere):
        await queue_deleted(Queue("nobody's", ()), fragile_shop, Random(1))  # noqa: S311
