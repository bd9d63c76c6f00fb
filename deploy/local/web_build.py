"""Builds the web page, web/dist, if it is missing or older than its sources."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import node
from layout import REPOSITORY

WEB = REPOSITORY / "web"
SKIPPED = ("node_modules", "dist", "test-results")


def build() -> None:
    if _newest(WEB / "dist") > _newest_source():
        return
    environment = os.environ | {"PATH": node.path()}
    print("building web/", flush=True)
    installed = WEB / "node_modules" / ".package-lock.json"
    if _newest(installed) < (WEB / "package-lock.json").stat().st_mtime:
        _npm(environment, "ci", "--no-audit", "--no-fund")
    try:
        _npm(environment, "run", "build")
    except BaseException:
        shutil.rmtree(WEB / "dist", ignore_errors=True)  # half a page would count as built
        raise


def _npm(environment: dict[str, str], *arguments: str) -> None:
    npm = shutil.which("npm", path=environment["PATH"]) or "npm"
    command = [npm, *arguments]
    result = subprocess.run(
        command, cwd=WEB, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if result.returncode != 0:
        raise SystemExit(f"npm {' '.join(arguments)} failed in web/:\n{result.stdout}{result.stderr}")


def _newest(path: Path) -> float:
    """Returns the modification time of a file, or of the newest file in a folder. Returns 0 if there is none."""
    if path.is_dir():
        return max((file.stat().st_mtime for file in path.rglob("*") if file.is_file()), default=0)
    return path.stat().st_mtime if path.exists() else 0


def _newest_source() -> float:
    return max(path.stat().st_mtime for path in _sources())


def _sources() -> Iterator[Path]:
    for folder, folders, files in os.walk(WEB):
        folders[:] = [name for name in folders if name not in SKIPPED]
        yield from (Path(folder) / name for name in files)
