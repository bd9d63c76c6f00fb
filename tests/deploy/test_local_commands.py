"""What the `make` targets do without a running shop: they find Node.js, choose ports and report problems."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

LOCAL = ROOT / "deploy" / "local"
CLAIM = "import free_ports; print(free_ports.claim(), flush=True); input()"


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """A folder that is the whole PATH of a command. It contains only `sh`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sh").symlink_to("/bin/sh")
    return folder


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def found_node(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(LOCAL / "node.py")]
    return subprocess.run(command, env={"PATH": str(folder)}, capture_output=True, text=True)


@pytest.mark.parametrize("version", ["v20.19.0", "v22.1.0", "v24.19.0"])
def test_a_new_enough_node_of_the_machine_is_used(bin_dir: Path, version: str) -> None:
    program(bin_dir, "node", f"echo {version}")
    program(bin_dir, "npm", "")
    program(bin_dir, "uv", "exit 1")
    assert found_node(bin_dir).stdout == f"{bin_dir}\n"


@pytest.mark.parametrize("version", ["v18.20.4", "v20.9.0", ""])
def test_the_pinned_node_replaces_an_older_one(bin_dir: Path, version: str) -> None:
    program(bin_dir, "node", f"echo {version}")
    program(bin_dir, "npm", "")
    program(bin_dir, "uv", f'echo "$UV_PROJECT_ENVIRONMENT $*" >{bin_dir}/called')
    assert found_node(bin_dir).stdout == f"{ROOT}/.run/node/bin:{bin_dir}\n"
    called = (bin_dir / "called").read_text()
    assert called == f"{ROOT}/.run/node sync --quiet --locked --only-group web\n"


@pytest.mark.parametrize("present", [[], ["node"], ["npm"]], ids=["none", "only-node", "only-npm"])
def test_the_pinned_node_is_installed_when_node_or_npm_is_missing(bin_dir: Path, present: list[str]) -> None:
    for name in present:
        program(bin_dir, name, "echo v24.19.0")
    program(bin_dir, "uv", "")
    assert found_node(bin_dir).stdout == f"{ROOT}/.run/node/bin:{bin_dir}\n"


def test_a_failed_installation_of_node_names_the_version_to_install(bin_dir: Path) -> None:
    program(bin_dir, "uv", "exit 2")
    found = found_node(bin_dir)
    assert found.returncode == 1
    assert "please install 20.19 or newer with npm" in found.stderr


def claiming() -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", CLAIM], cwd=LOCAL, stdin=pipe, stdout=pipe, text=True)


def claimed(process: subprocess.Popen[str]) -> int:
    assert process.stdout
    return int(process.stdout.readline())


def test_two_test_runs_at_the_same_time_claim_different_ports() -> None:
    with claiming() as one, claiming() as other:
        ports = claimed(one), claimed(other)
        for process in (one, other):
            process.communicate("\n")
    assert ports[0] != ports[1]
    assert all(1024 < port < 32768 - 2000 for port in ports)


def test_a_range_with_a_port_in_use_is_not_claimed() -> None:
    with claiming() as process:
        port = claimed(process)
        process.communicate("\n")
    with socket.create_server(("127.0.0.1", port + 1501)), claiming() as process:
        assert claimed(process) != port
        process.communicate("\n")


def test_a_missing_test_file_is_reported_before_a_shop_starts(tmp_path: Path) -> None:
    command = [sys.executable, str(LOCAL / "shop.py"), "test", "--dir", str(tmp_path / "shop")]
    done = subprocess.run([*command, "--", "-x", "tests/nonexistent"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "tests/nonexistent does not exist\n")
    assert not (tmp_path / "shop").exists()


def test_output_before_pytest_precedes_it_in_a_pipe(tmp_path: Path) -> None:
    script = (
        "import argparse, shop; from pathlib import Path; print('address'); "
        f"shop._pytest(argparse.Namespace(dir=Path({str(tmp_path)!r}), arguments=['--version', '--version']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=LOCAL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    first, *_, last = done.stdout.splitlines()
    assert first == "address"
    assert last != "address"


def test_a_user_without_root_and_sudo_gets_one_line_with_all_packages(bin_dir: Path) -> None:
    program(bin_dir, "apt-get", "exit 1")
    script = "import os, packages; os.getuid = lambda: 1000; packages.ensure('redis-server')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=LOCAL, env={"PATH": str(bin_dir)}, capture_output=True, text=True
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("installing needs root or sudo; please install: ")
    assert "redis-server" in line
    assert line.endswith("(and chromium for `make test`)")


@pytest.mark.parametrize("goal", ["status", "logs", "audit", "dead-letters"])
def test_a_command_for_a_running_shop_installs_nothing_without_one(tmp_path: Path, goal: str) -> None:
    clone = copy_of_repository(tmp_path)
    done = subprocess.run(["make", goal], cwd=clone, env=machine_environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout + done.stderr.splitlines()[0] in ("the shop is not running", "there are no logs")
    assert not (clone / ".venv").exists()
    assert not (clone / ".run").exists()


@pytest.mark.parametrize("goal", ["down", "clean"])
def test_stopping_installs_nothing_without_a_running_shop(tmp_path: Path, goal: str) -> None:
    clone = copy_of_repository(tmp_path)
    done = subprocess.run(["make", goal], cwd=clone, env=machine_environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "the shop is not running\n")
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["audit", "--help"], "python -m auditor"),
        (["dead-letters", "-h"], "python -m gozon dead-letters"),
        (["dead-letters", "list", "--help"], "python -m gozon dead-letters list"),
    ],
    ids=" ".join,
)
def test_help_needs_no_running_shop(tmp_path: Path, words: list[str], usage: str) -> None:
    command, *arguments = words
    shop = [sys.executable, str(LOCAL / "shop.py"), command, "--dir", str(tmp_path / "shop")]
    done = subprocess.run([*shop, "--", *arguments], env=machine_environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {usage} ")


@pytest.mark.parametrize("goal", ["audit", "dead-letters"])
def test_help_installs_the_packages_that_it_needs(tmp_path: Path, goal: str) -> None:
    clone = copy_of_repository(tmp_path)
    for name in ("pyproject.toml", "uv.lock"):
        (clone / name).touch()
    command = ["make", "--dry-run", goal, "ARGS=--help"]
    done = subprocess.run(command, cwd=clone, env=machine_environment(), capture_output=True, text=True)
    assert done.returncode == 0
    assert "sync --quiet --locked" in done.stdout
    assert done.stdout.endswith(f".venv/bin/python deploy/local/shop.py {goal} -- --help\n")


def copy_of_repository(folder: Path) -> Path:
    clone = folder / "clone"
    shutil.copytree(LOCAL, clone / "deploy" / "local")
    shutil.copy(ROOT / "Makefile", clone)
    return clone


def machine_environment() -> dict[str, str]:
    """The environment without the variables of a `make` that has started pytest."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
