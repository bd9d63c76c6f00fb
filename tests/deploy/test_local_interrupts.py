"""After Ctrl-C during `make up`, no process stays running and every later command works."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.deploy.local import LocalShop, restore_interrupts, running_in
from tests.support import ROOT

# Files that are written while PostgreSQL's cluster is created, after supervisord starts, and while RabbitMQ starts.
MOMENTS = ("postgres.new", "supervisord.pid", "logs/rabbitmq.log")
INSTALLATION = """
import sys
sys.path.insert(0, "deploy/local")
import packages
packages._finish("sh", "-c", 'touch "$0.begun"; sleep 2; touch "$0.done"', sys.argv[1])
"""


@pytest.mark.timeout(300)
def test_after_ctrl_c_nothing_runs_and_every_command_works(local_shop: LocalShop) -> None:
    for moment in MOMENTS:
        status, output = local_shop.interrupted(moment)
        assert status == 130, output
        assert "Traceback" not in output
        assert running_in(local_shop.directory) == []
        assert local_shop.run("status") == (1, "the shop is not running\n")
    status, output = local_shop.up()
    assert status == 0, output
    assert local_shop.run("status")[0] == 0
    assert local_shop.run("down") == (0, "stopping\n")


@pytest.mark.skipif(os.getuid() != 0 and shutil.which("sudo") is None, reason="needs root")
def test_ctrl_c_does_not_reach_an_installation(tmp_path: Path) -> None:
    files = tmp_path / "installation"
    command = [sys.executable, "-c", INSTALLATION, files]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=restore_interrupts,
    ) as process:
        while process.poll() is None and not files.with_suffix(".begun").exists():
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    assert files.with_suffix(".done").exists()
    assert "KeyboardInterrupt" in errors
