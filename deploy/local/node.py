"""Finds a Node.js: the one of the machine, or else the one of uv.lock, which uv installs under .run/node.

In a shell: `export PATH=$(python3 deploy/local/node.py)`.
"""

import json
import os
import shutil
import subprocess
import sys

from layout import REPOSITORY

INSTALLED = REPOSITORY / ".run" / "node"


def path() -> str:
    """Returns a PATH with a new enough node and npm. Raises SystemExit if they cannot be installed."""
    inherited = os.environ.get("PATH", os.defpath)
    if _is_new_enough():
        return inherited
    uv = shutil.which("uv", path=f"{inherited}{os.pathsep}{REPOSITORY / '.run/tools/bin'}")
    if uv is None:
        raise SystemExit("uv is missing, which installs Node.js; `make check` installs uv")
    _install(uv)
    return f"{INSTALLED / 'bin'}{os.pathsep}{inherited}"


def _is_new_enough() -> bool:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return False
    run = subprocess.run([node, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return _numbers(run.stdout.strip().removeprefix("v")) >= _numbers(_required())


def _required() -> str:
    engines = json.loads((REPOSITORY / "web" / "package.json").read_text())["engines"]
    return engines["node"].removeprefix(">=")


def _numbers(version: str) -> list[int]:
    """Returns the numbers of a version, or an empty list, which is less than any version, for other text."""
    return [int(part) for part in version.split(".") if part.isdigit()]


def _install(uv: str) -> None:
    if not INSTALLED.exists():
        print(
            f"installing Node.js, because this machine has none of {_required()} or newer",
            file=sys.stderr,
            flush=True,
        )
    command = [uv, "sync", "--quiet", "--locked", "--only-group", "web"]
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(INSTALLED)}
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        raise SystemExit(f"uv could not install Node.js; please install {_required()} or newer with npm")


if __name__ == "__main__":
    print(path())
