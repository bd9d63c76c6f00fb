"""Short runs of the load tools on the whole shop. The tests do not judge times."""

import asyncio
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import aiohttp
from sqlalchemy import text

from auditor.snapshot import open_database
from loadtest.load.report import Report, read
from loadtest.load.schedule import Kind
from tests.conftest import Shop
from tests.support import ROOT, Caller, eventually

SHORT = "USERS=60", "SECONDS=4", "SECOND_SOCKETS=0.5"
VERDICTS = ["answers", "sockets", "final status", "one toast per socket", "only own toasts", "balances"]
FIRST_ORDER = text("SELECT min(created_at) AS at FROM orders WHERE user_id LIKE 'load-%' AND created_at > :began")
NEW_USERS = text("""
    SELECT user_id FROM accounts WHERE user_id LIKE 'load-%' AND created_at > :began ORDER BY created_at
""")


class Outcome(NamedTuple):
    status: int
    output: str
    report: Report
    folder: Path


async def load(reports: Path, *words: str, tool: str = "loadtest.load") -> Outcome:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", tool, f"REPORTS={reports}", *SHORT, *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    folder = max(reports.glob("*"), default=None)
    assert folder, output.decode()
    return Outcome(process.returncode or 0, output.decode(), read(folder / "report.json"), folder)


def folder_of(shop: Shop) -> str:
    return f"DIR={Path(shop.servers['supervisor']).parent}"


async def test_a_load_with_a_rate_passes_every_check(shop: Shop, tmp_path: Path) -> None:
    began = datetime.now(UTC)
    status, output, report, folder = await load(tmp_path, folder_of(shop), "RATE=60", "PROCESSES=2")

    assert status == 0, output
    async with open_database("orders", shop.servers["databases"]["orders"]) as orders:
        (first,) = await orders.rows(FIRST_ORDER, {"began": began})
    assert began < report.started <= first.at
    assert [verdict.name for verdict in report.verdicts] == [*VERDICTS, "programs", "audit"]
    assert all(verdict.looked_at for verdict in report.verdicts)
    assert set(report.orders) == {Kind.PAID, Kind.TOO_EXPENSIVE, Kind.NO_ACCOUNT}
    assert report.times["to toast"].count == report.accepted > 100
    assert sum(report.sockets.values()) > 60
    assert len(report.deliveries) > 1
    assert {"orders", "payments", "notifier", "gateway", "nginx", "postgres", "rabbitmq", "redis", "generator"} <= {
        service.name for service, _ in report.services()
    }
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 4
    assert not re.search(r'(src|href)="(?!#)|@import|url\((?!#)', page), "the page needs no other file"


async def test_a_load_as_fast_as_possible_can_be_compared_with_an_earlier_one(shop: Shop, tmp_path: Path) -> None:
    """The tool knows only the address of the shop."""
    words = f"URL={shop.url}", "IN_FLIGHT=4"
    _, _, _, folder = await load(tmp_path / "first", *words, "SECONDS=1")
    status, output, report, _ = await load(tmp_path / "second", *words, f"COMPARE={folder}/report.json")

    assert status == 0, output
    assert [verdict.name for verdict in report.verdicts] == VERDICTS
    assert "not the same: seconds: 1.0, now 4.0" in output
    assert "accepted, orders/s" in output


async def test_a_soak_measures_everything_that_must_not_grow(shop: Shop, tmp_path: Path) -> None:
    """Growth is not judged here, because the time is too short."""
    words = folder_of(shop), "MINUTES=0.15", "RATE=20"
    status, output, report, folder = await load(tmp_path, *words, tool="loadtest.load.soak")

    assert {verdict.name for verdict in report.verdicts if not verdict.holds} <= {"flat"}, output
    assert status == (0 if report.holds else 1)
    measured = {(series.what, series.name) for series in report.series}
    assert measured >= {
        ("memory, MiB", "notifier-1"),
        ("open files", "nginx"),
        ("asyncio tasks", "gateway-1"),
        ("rows that wait", "payments inbox"),
        ("keys in Redis", "of users"),
        ("tables, MiB", "orders outbox"),
        ("latency to toast, ms", "p99"),
    }
    assert all(series.values for series in report.series)
    assert (folder / "memory.svg").exists()


async def test_an_order_by_another_client_is_named_and_the_exit_status_is_1(
    shop: Shop, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Another client uses the account of one of the load's users."""
    began = datetime.now(UTC)
    loading = asyncio.create_task(load(tmp_path, folder_of(shop), "RATE=20"))

    async def latest_user_of_the_load() -> str | None:
        async with open_database("payments", shop.servers["databases"]["payments"]) as payments:
            found = await payments.rows(NEW_USERS, {"began": began})
        return found[0]["user_id"] if len(found) > 50 else None

    user_id = await eventually(latest_user_of_the_load)
    intruder = Caller(session, shop.url, user_id)
    await intruder.top_up(5)
    order_id = await intruder.order(1)

    status, output, report, folder = await loading
    assert status == 1, output
    broken = {verdict.name: verdict.rows for verdict in report.verdicts if not verdict.holds}
    assert set(broken) == {"final status", "only own toasts", "balances"}
    assert [row["order"] for row in broken["final status"]] == [order_id]
    assert {row["order"] for row in broken["only own toasts"]} == {order_id}
    assert [row["user"] for row in broken["balances"]] == [user_id]
    assert f'order="{order_id}"' in output
    assert order_id in (folder / "report.html").read_text()
