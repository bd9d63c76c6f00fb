"""A shop that `make up` starts at a path with spaces: its files and the output of its commands."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.alarms import memory_alarm
from tests.deploy.local import LocalShop
from tests.support import ROOT, free_port

SOURCES = ("gateway", "orders", "payments", "notifier", "backstage", "gozon", "shopkit", "deploy/local")
FILES = ("nginx.conf", "web/nginx.conf")


@pytest.fixture(scope="module")
def repository() -> Generator[Path]:
    """A copy of this repository, with its virtual environment and a dummy web page."""
    with tempfile.TemporaryDirectory(prefix="Gozon's copy ", dir="/var/tmp") as folder:
        copy = Path(folder)
        copy.chmod(0o755)
        for name in SOURCES:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        page = copy / "web" / "dist" / "index.html"
        page.parent.mkdir(parents=True)
        for name in FILES:
            shutil.copy2(ROOT / name, copy / name)
        page.write_text("a page")
        (copy / ".venv").symlink_to(ROOT / ".venv")
        yield copy


class Running(LocalShop):
    """A whole shop with one replica of each service."""

    def __init__(self, repository: Path) -> None:
        super().__init__(repository / ".run" / "shop", repository)
        self.entrance = str(free_port())
        self.output = ""

    def start_up(self) -> None:
        status, self.output = self.run("up", "--replicas", "1", "--entrance", self.entrance)
        assert status == 0, self.output

    def description(self) -> dict[str, Any]:
        return json.loads((self.directory / "shop.json").read_text())


@pytest.fixture(scope="module")
def running(repository: Path) -> Generator[Running]:
    shop = Running(repository)
    try:
        shop.start_up()
        yield shop
    finally:
        assert shop.run("clean") == (0, "stopping\n")


@pytest.mark.timeout(300)
def test_every_part_is_ready_at_a_path_with_spaces(running: Running) -> None:
    status, output = running.run("status")
    lines = output.splitlines()
    assert status == 0
    assert len(lines) == 11
    assert all(line.split()[1:] == ["RUNNING", "ready"] for line in lines), output


def test_the_brokers_password_is_not_printed(running: Running) -> None:
    passwords = json.loads((running.directory / "passwords.json").read_text())
    assert not [word for word in passwords.values() if word in running.output]
    assert "passwords.json" in running.output


def test_only_the_owner_can_read_data_and_logs(running: Running) -> None:
    assert running.directory.stat().st_mode & 0o066 == 0
    for name in ("rabbitmq", "redis", "logs", "postgres"):
        assert (running.directory / name).stat().st_mode & 0o077 == 0, name


async def test_status_reports_an_alarm_of_rabbitmq(running: Running) -> None:
    async with memory_alarm(running.description()):
        status, output = await asyncio.to_thread(running.run, "status")
    assert status == 0
    assert "RUNNING   accepts no messages: too little memory is free" in output


def test_a_running_shop_reports_that_it_keeps_its_port(running: Running) -> None:
    other = str(free_port())
    status, output = running.run("up", GOZON_PORT=other)
    assert status == 0
    assert f"stays on entrance port {running.entrance}" in output
    assert f"make down, then GOZON_PORT={other} make up" in output


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("GOZON_PORT", "abc", "'abc'"),
        ("GOZON_PORT", "70000", "65535"),
        ("GOZON_BASE_PORT", "32768", "outgoing connections"),
    ],
)
def test_an_invalid_port_is_rejected(local_shop: LocalShop, variable: str, value: str, why: str) -> None:
    local_shop.base_port = None
    status, output = local_shop.up(**{variable: value})
    assert status == 1
    assert "Traceback" not in output
    assert variable in output
    assert why in output


def test_a_port_in_use_is_rejected_with_a_solution(running: Running, local_shop: LocalShop) -> None:
    local_shop.base_port = running.base_port
    status, output = local_shop.run("up")
    assert status == 1
    assert "GOZON_PORT=8081 GOZON_BASE_PORT=19000 make up" in output
    assert "building" not in output


def test_up_warns_of_more_replicas_than_the_cores_can_run(running: Running, local_shop: LocalShop) -> None:
    local_shop.base_port = running.base_port
    cores = os.cpu_count() or 1
    output = local_shop.run("up", "--replicas", "99")[1]
    assert f"397 processes on {cores} cores" in output


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to make a file system and files of another user")
class TestAsRoot:
    def test_a_full_disk_is_rejected_with_the_needed_space(self, tmp_path: Path) -> None:
        shop = LocalShop(tmp_path / "shop")
        small = 'for folder in /tmp /var/tmp; do mount -t tmpfs -o size=100m small $folder; done; exec "$@"'
        status, output = shop.run("up", "--servers-only", before=("unshare", "--mount", "sh", "-c", small, "sh"))
        assert status == 1
        assert "104 MB are free" in output
        assert "1200 MB" in output

    def test_a_link_of_another_user_is_rejected(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        link = tmp_path / "shop"
        link.symlink_to("elsewhere")
        os.chown(link, 65534, 65534, follow_symlinks=False)
        for command in ("up", "status", "down", "clean"):
            status, output = LocalShop(link).run(command)
            assert status == 1
            assert "belongs to another user" in output
        assert list((tmp_path / "elsewhere").iterdir()) == []
