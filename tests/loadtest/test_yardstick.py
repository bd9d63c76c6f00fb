"""The yardstick on a machine where Python starts slowly."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.processes

SHORT_RUN = "from loadtest import yardstick as y; y.SECONDS, y.ROUNDS = 0.1, 1; y.main()"
SLOW_SERVER = """
import sys, time
if sys.orig_argv[-1:] == ["serve"]:
    time.sleep(5)
"""


async def test_the_yardstick_waits_for_a_server_that_starts_slowly(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_SERVER)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SHORT_RUN),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert output.endswith(b"bare requests/s on one core\n")
